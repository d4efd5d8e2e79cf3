"""Server-sent events: what a page is told while it is open."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from starlette.requests import Request

from web.access import browsers
from web.access.limits import Streams
from web.streams.held import HeldStream

# A page that hears nothing for some of these reconnects; a connection that is gone is noticed here.
PING_SECONDS = 15.0
# The browser waits so long before it connects again.
_RETRY_MILLISECONDS = 1000


def encode(event: str, data: Mapping[str, Any] | list[Any]) -> bytes:
    """Return an event as it is sent."""
    # JSON has no line breaks of its own: those in texts are escaped.
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    return f"event: {event}\ndata: {text}\n\n".encode()


def answer(request: Request, streams: Streams, events: AsyncIterator[bytes]) -> HeldStream:
    """Answer with events, and with a ping when none has come for a while.

    Raises TooOften if too many streams are open.
    """
    stack = contextlib.AsyncExitStack()
    stack.enter_context(streams.open(browsers.address_of(request)))

    async def body() -> AsyncIterator[bytes]:
        yield f"retry: {_RETRY_MILLISECONDS}\n\n".encode()
        async with contextlib.aclosing(_with_pings(events)) as every:
            async for each in every:
                yield each

    headers = {"X-Accel-Buffering": "no"}  # else some proxies would collect events
    return HeldStream(stack, body(), headers, "text/event-stream")


async def _with_pings(events: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    ping = encode("ping", {})
    following: asyncio.Future[bytes] | None = None
    try:
        while True:
            following = following or asyncio.ensure_future(_next(events))
            done, _ = await asyncio.wait({following}, timeout=PING_SECONDS)
            if not done:
                yield ping
                continue
            try:
                event = following.result()
            except StopAsyncIteration:
                return
            following = None
            yield event
    finally:
        if following is not None:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
                await following
        closing = getattr(events, "aclose", None)
        if closing is not None:
            await closing()


async def _next(events: AsyncIterator[bytes]) -> bytes:
    return await anext(events)
