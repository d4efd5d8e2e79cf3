"""Streams of bytes: `header`, `data` as often as needed, and `end` with a digest."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from cyberdojo.storer.v1 import storer_pb2
from dojo.chunks import Digest
from dojo.errors import InvalidArgument

T = TypeVar("T")

MAX_DATA_BYTES = 1024 * 1024
IDLE_SECONDS = 60

_receivers = ThreadPoolExecutor(8, thread_name_prefix="receiver")


async def send(
    pieces: Generator[bytes, None, None], filename: str, message: Callable[..., Any]
) -> AsyncIterator[Any]:
    """Yield the messages of a stream; each piece is made in a thread, when it is needed.

    The first piece is made before the header is sent, so that what can't be begun is refused
    at once. `pieces` is closed in the end, also when the client went away.
    """
    digest = Digest()
    making: asyncio.Task[bytes | None] | None = None
    try:
        making = _next_piece(pieces)
        piece = await asyncio.shield(making)
        yield message(header=storer_pb2.StreamHeader(filename=filename))
        while piece is not None:
            digest.update(piece)
            yield message(data=piece)
            making = _next_piece(pieces)
            piece = await asyncio.shield(making)
        end = storer_pb2.StreamEnd(size_bytes=digest.size_bytes, sha256=digest.sha256)
        yield message(end=end)
    finally:
        closing = asyncio.create_task(_close(pieces, making))
        _closing.add(closing)
        closing.add_done_callback(_closing.discard)


# Streams whose client went away while a thread was at work for it; held until that is done.
_closing: set[asyncio.Task[None]] = set()


def _next_piece(pieces: Generator[bytes, None, None]) -> asyncio.Task[bytes | None]:
    return asyncio.create_task(asyncio.to_thread(next, pieces, None))


async def _close(
    pieces: Generator[bytes, None, None], making: asyncio.Task[bytes | None] | None
) -> None:
    if making is not None:
        await asyncio.wait([making])
        making.cancelled() or making.exception()  # it was raised where it was waited for
    await asyncio.to_thread(pieces.close)


async def receive(
    requests: AsyncIterator[storer_pb2.RestoreKataRequest],
    consume: Callable[[Iterator[bytes]], T],
) -> T:
    """Return what `consume`, in a thread, makes of the bytes of a stream.

    Its iterator raises InvalidArgument if the stream does not come to its end, or to another
    end than was announced. A client takes its time, and a thread waits for it: these are
    threads of their own, so that who restores can't keep others from being served.
    """
    loop = asyncio.get_running_loop()

    def pieces() -> Iterator[bytes]:
        digest = Digest()
        while (part := _part(requests, loop)) is not None:
            if part.HasField("header"):
                raise InvalidArgument("header", "came twice")
            if part.HasField("end"):
                _check_end(part.end, digest)
                if _part(requests, loop) is not None:
                    raise InvalidArgument("end", "has to come last")
                return
            if len(part.data) > MAX_DATA_BYTES:
                reason = f"{len(part.data)} bytes are more than {MAX_DATA_BYTES}"
                raise InvalidArgument("data", reason)
            digest.update(part.data)
            yield part.data
        raise InvalidArgument("end", "is missing: the stream is not whole")

    context = contextvars.copy_context()
    return await loop.run_in_executor(_receivers, context.run, consume, pieces())


def _part(
    requests: AsyncIterator[storer_pb2.RestoreKataRequest], loop: asyncio.AbstractEventLoop
) -> storer_pb2.RestoreKataRequest | None:
    """Return the next message, or None at the end of the stream. For a thread to call."""

    async def following() -> storer_pb2.RestoreKataRequest | None:
        return await anext(requests, None)

    coming = asyncio.run_coroutine_threadsafe(following(), loop)
    try:
        return coming.result(IDLE_SECONDS)
    except TimeoutError:
        coming.cancel()
        raise InvalidArgument("data", f"nothing came for {IDLE_SECONDS} seconds") from None


def _check_end(end: storer_pb2.StreamEnd, came: Digest) -> None:
    if end.size_bytes != came.size_bytes:
        reason = f"{came.size_bytes} bytes came, not {end.size_bytes}"
        raise InvalidArgument("end.size_bytes", reason)
    if end.sha256 != came.sha256:
        raise InvalidArgument("end.sha256", "is not the digest of what came")
