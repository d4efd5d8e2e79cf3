import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from web.streams.held import HeldStream

SCOPE = {"type": "http", "asgi": {"spec_version": "2.4"}, "method": "GET", "path": "/"}


async def receive() -> Message:
    await asyncio.sleep(3600)
    raise AssertionError


def answered(most: int) -> list[str]:
    """Answer to a browser that goes after so many messages; return what was closed, and when."""
    happened: list[str] = []

    async def content() -> AsyncIterator[bytes]:
        for piece in (b"1", b"2", b"3"):
            happened.append(f"piece {piece.decode()}")
            yield piece

    async def send(_: Message) -> None:
        nonlocal most
        if most == 0:
            raise OSError("the browser is gone")
        most -= 1

    async def answer() -> None:
        stack = contextlib.AsyncExitStack()
        stack.callback(happened.append, "closed")
        stream = HeldStream(stack, content(), {}, "text/plain")
        await stream(SCOPE, receive, send)

    with contextlib.suppress(OSError, ClientDisconnect):
        asyncio.run(answer())
    return happened


@pytest.mark.parametrize("most", [0, 1, 2, 3])
def test_what_a_stream_holds_is_given_up_whenever_its_browser_goes(most: int) -> None:
    pieces = [f"piece {number}" for number in range(1, most + 1)]
    assert answered(most) == [*pieces, "closed"]


def test_what_a_stream_holds_is_given_up_at_its_end() -> None:
    assert answered(99) == ["piece 1", "piece 2", "piece 3", "closed"]
