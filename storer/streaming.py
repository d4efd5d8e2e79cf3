"""Streams of bytes: `header`, `data` as often as needed, and `end` with a digest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeVar

from cyberdojo.storer.v1 import storer_pb2
from dojo.chunks import Digest
from dojo.errors import InvalidArgument

T = TypeVar("T")

MAX_DATA_BYTES = 1024 * 1024


async def send(
    pieces: Iterator[bytes], filename: str, message: Callable[..., Any]
) -> AsyncIterator[Any]:
    """Yield the messages of a stream; each piece is made in a thread, when it is needed.

    The first piece is made before the header is sent, so that what can't be begun is refused
    at once.
    """
    digest = Digest()
    try:
        piece = await asyncio.to_thread(next, pieces, None)
        yield message(header=storer_pb2.StreamHeader(filename=filename))
        while piece is not None:
            digest.update(piece)
            yield message(data=piece)
            piece = await asyncio.to_thread(next, pieces, None)
        end = storer_pb2.StreamEnd(size_bytes=digest.size_bytes, sha256=digest.sha256)
        yield message(end=end)
    finally:
        close = getattr(pieces, "close", None)
        if close is not None:
            await asyncio.shield(asyncio.to_thread(close))


async def receive(
    requests: AsyncIterator[storer_pb2.RestoreKataRequest],
    consume: Callable[[Iterator[bytes]], T],
) -> T:
    """Return what `consume`, in a thread, makes of the bytes of a stream.

    Its iterator raises InvalidArgument if the stream does not come to its end, or to another
    end than was announced.
    """
    loop = asyncio.get_running_loop()

    def pieces() -> Iterator[bytes]:
        digest = Digest()
        while (part := _part(requests, loop)) is not None:
            if part.HasField("header"):
                raise InvalidArgument("header", "came twice")
            if part.HasField("end"):
                _check_end(part.end, digest)
                return
            if len(part.data) > MAX_DATA_BYTES:
                reason = f"{len(part.data)} bytes are more than {MAX_DATA_BYTES}"
                raise InvalidArgument("data", reason)
            digest.update(part.data)
            yield part.data
        raise InvalidArgument("end", "is missing: the stream is not whole")

    return await asyncio.to_thread(consume, pieces())


def _part(
    requests: AsyncIterator[storer_pb2.RestoreKataRequest], loop: asyncio.AbstractEventLoop
) -> storer_pb2.RestoreKataRequest | None:
    """Return the next message, or None at the end of the stream. For a thread to call."""

    async def following() -> storer_pb2.RestoreKataRequest | None:
        return await anext(requests, None)

    return asyncio.run_coroutine_threadsafe(following(), loop).result()


def _check_end(end: storer_pb2.StreamEnd, came: Digest) -> None:
    if end.size_bytes != came.size_bytes:
        reason = f"{came.size_bytes} bytes came, not {end.size_bytes}"
        raise InvalidArgument("end.size_bytes", reason)
    if end.sha256 != came.sha256:
        raise InvalidArgument("end.sha256", "is not the digest of what came")
