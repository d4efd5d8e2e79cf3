"""Streams of bytes: `header`, `data` as often as needed, and `end` with a digest."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

from cyberdojo.storer.v1 import storer_pb2
from dojo.chunks import CHUNK_BYTES, Digest
from dojo.errors import InvalidArgument

T = TypeVar("T")

# A request of a stream of bytes that comes in.
Part = TypeVar("Part", storer_pb2.RestoreKataRequest, storer_pb2.RestoreKatasRequest)

MAX_DATA_BYTES = 1024 * 1024
IDLE_SECONDS = 60

# As many threads as there are for all other calls: a caller who sends nothing holds one for
# IDLE_SECONDS.
RECEIVER_THREADS = 64


_Header = str | storer_pb2.StreamHeader | storer_pb2.BackupKatasHeader


class Streams:
    """The streams of bytes that are sent or received at this moment. Of the event loop's thread."""

    def __init__(self, receivers: ThreadPoolExecutor) -> None:
        """Wait for callers who send in threads of `receivers`, so that they keep none waiting."""
        self._receivers = receivers
        # Of streams whose client went away while a thread was at work for it, until that is done.
        self._closing: set[asyncio.Task[None]] = set()

    async def send(
        self,
        pieces: Generator[bytes, None, None],
        header: _Header | Callable[[], _Header],
        message: Any,
    ) -> AsyncIterator[Any]:
        """Yield the messages of a stream; each piece is made in a thread, while one is sent.

        `header` is what it begins with, or the filename in that, or gives it when the first piece
        is made. What its `offset` says that the caller has is left out, and is part of the digest.

        The first piece is made before the header is sent, so that what can't be begun is refused
        at once. `pieces` is closed in the end, also when the client went away.
        """
        digest = Digest()
        next_task: asyncio.Task[bytes | None] | None = None
        try:
            next_task = _next_piece(pieces, digest)
            piece = await asyncio.shield(next_task)
            started = header() if callable(header) else header
            if isinstance(started, str):
                started = storer_pb2.StreamHeader(filename=started)
            yield message(header=started)
            left_out = started.offset if isinstance(started, storer_pb2.StreamHeader) else 0
            while piece is not None:
                next_task = _next_piece(pieces, digest)  # while this one is sent
                size = len(piece)
                if left_out < size:
                    # Under the same name: the piece is not kept while a client takes its time.
                    piece = _data(message, piece[left_out:] if left_out else piece)
                    yield piece
                left_out = max(0, left_out - size)
                piece = await asyncio.shield(next_task)
            end = storer_pb2.StreamEnd(size_bytes=digest.size_bytes, sha256=digest.sha256)
            yield message(end=end)
        finally:
            self._close_in_background(pieces, next_task)

    async def receive(
        self,
        requests: AsyncIterator[Part],
        consume: Callable[[Iterator[bytes]], T],
    ) -> T:
        """Return what `consume`, in a thread, makes of the bytes of a stream.

        Its iterator raises InvalidArgument if the stream does not come to its end, or to another
        end than was announced. A client takes its time, and a thread waits for it: these are
        threads of their own, so that who restores can't keep others from being served.
        """
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()
        pieces = _pieces(requests, loop)
        return await loop.run_in_executor(self._receivers, context.run, consume, pieces)

    async def exchange(
        self,
        requests: AsyncIterator[Part],
        consume: Callable[[Iterator[bytes]], Generator[T, None, None]],
    ) -> AsyncIterator[T]:
        """Yield what `consume` yields, in a thread, as it reads the bytes of a stream.

        As `receive` otherwise. It is closed in the end, also when the client went away.
        """
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()
        values = consume(_pieces(requests, loop))
        next_task: asyncio.Task[T | None] | None = None

        async def next_value() -> T | None:
            return await loop.run_in_executor(
                self._receivers, context.run, lambda: next(values, None)
            )

        try:
            while True:
                next_task = asyncio.create_task(next_value())
                value = await asyncio.shield(next_task)
                if value is None:
                    return
                yield value
        finally:
            self._close_in_background(values, next_task)

    def _close_in_background(
        self, values: Generator[T, None, None], next_task: asyncio.Task[T | None] | None
    ) -> None:
        closing = asyncio.create_task(_close(values, next_task))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


def _data(message: Any, piece: bytes) -> Any:
    """Return a message with a piece of data; with a whole chunk, serialized already.

    To put a chunk into the message and serialize that copies it three times, into memory that the
    system has to clear first: 1.4 ms, and a download that is a third slower.
    """
    if len(piece) != CHUNK_BYTES:
        return message(data=piece)
    return b"".join((_prefix_of_chunk(message), piece))


@cache
def _prefix_of_chunk(message: Any) -> bytes:
    """Return what a serialized message has before its data, if that is a whole chunk."""
    serialized: bytes = message(data=bytes(CHUNK_BYTES)).SerializeToString()
    return serialized[:-CHUNK_BYTES]


def _next_piece(pieces: Generator[bytes, None, None], digest: Digest) -> asyncio.Task[bytes | None]:
    def make() -> bytes | None:
        piece = next(pieces, None)
        if piece is not None:
            digest.update(piece)
        return piece

    return asyncio.create_task(asyncio.to_thread(make))


async def _close(
    values: Generator[T, None, None], next_task: asyncio.Task[T | None] | None
) -> None:
    if next_task is not None:
        await asyncio.wait([next_task])
        next_task.cancelled() or next_task.exception()  # it was raised where it was waited for
    await asyncio.to_thread(values.close)


def _pieces(requests: AsyncIterator[Part], loop: asyncio.AbstractEventLoop) -> Iterator[bytes]:
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


def _part(requests: AsyncIterator[Part], loop: asyncio.AbstractEventLoop) -> Part | None:
    """Return the next message, or None at the end of the stream. For a thread to call."""

    async def next_value() -> Part | None:
        return await anext(requests, None)

    future = asyncio.run_coroutine_threadsafe(next_value(), loop)
    try:
        return future.result(IDLE_SECONDS)
    except TimeoutError:
        future.cancel()
        raise InvalidArgument("data", f"nothing came for {IDLE_SECONDS} seconds") from None


def _check_end(end: storer_pb2.StreamEnd, received: Digest) -> None:
    if end.size_bytes != received.size_bytes:
        reason = f"{received.size_bytes} bytes came, not {end.size_bytes}"
        raise InvalidArgument("end.size_bytes", reason)
    if end.sha256 != received.sha256:
        raise InvalidArgument("end.sha256", "is not the digest of what came")
