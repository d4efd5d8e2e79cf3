"""Streams of bytes: `header`, any number of `data`, and `end` with a digest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import ExitStack
from functools import cache
from typing import Any, TypeVar

from cyberdojo.storer.v1 import storer_pb2
from dojo import limits, shares, waits
from dojo.chunks import CHUNK_BYTES, Digest
from dojo.errors import InvalidArgument
from dojo.service.call_threads import CallThreads
from dojo.waits import CallEnded, CallWork

T = TypeVar("T")

# A request of a stream that the storer receives.
Part = TypeVar("Part", storer_pb2.RestoreKataRequest, storer_pb2.RestoreKatasRequest)

MAX_DATA_BYTES = 1024 * 1024
IDLE_SECONDS = 60

# As many threads as serve all other calls. A caller who sends nothing blocks one for IDLE_SECONDS.
RECEIVER_THREADS = 64


_Header = str | storer_pb2.StreamHeader | storer_pb2.BackupKatasHeader


class Streams:
    """The streams in progress, both directions. Belongs to the event loop's thread."""

    def __init__(
        self,
        threads: CallThreads,
        receivers: CallThreads,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Wait for what callers send in threads of `receivers`, away from all other calls.

        The seconds of `clock` tell how slow a caller is.
        """
        self._threads = threads
        self._receivers = receivers
        self._clock = clock
        # Tasks that close streams of callers who disconnected while a thread was working for them.
        self._closing: set[asyncio.Task[None]] = set()

    async def send(
        self,
        pieces: Generator[bytes, None, None],
        header: _Header | Callable[[], _Header],
        message: Any,
        held_bytes: int = 0,
    ) -> AsyncGenerator[Any, None]:
        """Yield the messages of a stream. A thread makes each piece while the one before is sent.

        `header` is the header, or the filename for it, or a function that returns either, which is
        called when the first piece is made. The header's `offset` bytes, which the caller has, are
        not sent, but the digest includes them.

        The first piece is made before the header is sent, so that a stream that can't start fails
        at once. `pieces` is closed in the end, even if the caller disconnects; besides a piece,
        they hold `held_bytes`. Raises MemoryExhausted.
        """
        digest = Digest()
        work = _Work()
        next_task: asyncio.Task[bytes | None] | None = None
        holding = ExitStack()
        try:
            shares.check_downloading(held_bytes)
            next_task = self._next_piece(pieces, digest, work)
            piece = await asyncio.shield(next_task)
            # Not before: a call that waits for its kata holds nothing that others need.
            holding.enter_context(shares.downloading(held_bytes))
            started = header() if callable(header) else header
            if isinstance(started, str):
                started = storer_pb2.StreamHeader(filename=started)
            yield message(header=started)
            left_out = started.offset if isinstance(started, storer_pb2.StreamHeader) else 0
            while piece is not None:
                next_task = self._next_piece(pieces, digest, work)
                size = len(piece)
                if left_out < size:
                    # Rebound, so that the piece itself is freed while the caller reads slowly.
                    piece = _data(message, piece[left_out:] if left_out else piece)
                    yield piece
                left_out = max(0, left_out - size)
                piece = await asyncio.shield(next_task)
            end = storer_pb2.StreamEnd(size_bytes=digest.size_bytes, sha256=digest.sha256)
            yield message(end=end)
        finally:
            holding.close()
            work.end()
            self._close_in_background(pieces, next_task)

    async def header(self, requests: AsyncIterator[Part]) -> Part:
        """Return the first message of a stream that comes in, which has its header."""
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                first = await anext(aiter(requests), None)
        except TimeoutError:
            raise InvalidArgument("header", _nothing_arrived()) from None
        if first is None or not first.HasField("header"):
            raise InvalidArgument("header", "has to come first")
        return first

    async def receive(
        self,
        requests: AsyncIterator[Part],
        consume: Callable[[Iterator[bytes]], T],
        digest: Digest | None = None,
    ) -> T:
        """Return what `consume` returns, which reads the bytes of a stream in a thread.

        If a `digest` is given, it gets the bytes, and has that of all of them at their end.
        The iterator of bytes raises InvalidArgument if the stream breaks off or its end does not
        match. A thread waits for the caller, however slow; these threads serve nothing else, so a
        slow restore can't keep other calls waiting.
        """
        pieces = _pieces(requests, asyncio.get_running_loop(), self._clock, digest or Digest())
        return await self._receivers.run(consume, pieces)

    async def exchange(
        self,
        requests: AsyncIterator[Part],
        consume: Callable[[Iterator[bytes]], Generator[T, None, None]],
    ) -> AsyncIterator[T]:
        """Yield what `consume` yields, which reads the bytes of a stream in a thread.

        The threads and errors are those of `receive`. The generator is closed in the end, even if
        the caller disconnects.
        """
        values = consume(_pieces(requests, asyncio.get_running_loop(), self._clock, Digest()))
        work = _Work()
        next_task: asyncio.Task[T | None] | None = None

        def next_value() -> T | None:
            work.begin()
            return next(values, None)

        try:
            while True:
                next_task = asyncio.create_task(self._receivers.run(next_value))
                value = await asyncio.shield(next_task)
                if value is None:
                    return
                yield value
        finally:
            work.end()
            self._close_in_background(values, next_task)

    def _close_in_background(
        self, values: Generator[T, None, None], next_task: asyncio.Task[T | None] | None
    ) -> None:
        closing = asyncio.create_task(self._close(values, next_task))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _close(
        self, values: Generator[T, None, None], next_task: asyncio.Task[T | None] | None
    ) -> None:
        if next_task is not None:
            await asyncio.wait([next_task])
            next_task.cancelled() or next_task.exception()  # retrieved, or asyncio logs it again
        await self._threads.run(values.close)

    def _next_piece(
        self, pieces: Generator[bytes, None, None], digest: Digest, work: _Work
    ) -> asyncio.Task[bytes | None]:
        def make() -> bytes | None:
            work.begin()
            piece = next(pieces, None)
            if piece is not None:
                digest.update(piece)
            return piece

        return asyncio.create_task(self._threads.run_long(make))


class _Work:
    """What threads do for a stream, one piece after another."""

    def __init__(self) -> None:
        self._current: CallWork | None = None
        self._has_ended = False

    def begin(self) -> None:
        """Begin a piece. For the thread that makes it; raises CallEnded if the stream has ended."""
        self._current = waits.current()
        if self._has_ended:
            raise CallEnded

    def end(self) -> None:
        """Have the thread stop that makes a piece, at its next wait or check."""
        self._has_ended = True
        if self._current is not None:
            self._current.end()


def _data(message: Any, piece: bytes) -> Any:
    """Return a message with a piece of data; a whole chunk is serialized here.

    protobuf copies a chunk three times, into memory that the system has to clear first. That takes
    1.4 ms, and makes a download a third slower.
    """
    if len(piece) != CHUNK_BYTES:
        return message(data=piece)
    return b"".join((_prefix_of_chunk(message), piece))


@cache
def _prefix_of_chunk(message: Any) -> bytes:
    """Return the bytes of a serialized message that precede a whole chunk of data."""
    serialized: bytes = message(data=bytes(CHUNK_BYTES)).SerializeToString()
    return serialized[:-CHUNK_BYTES]


def _pieces(
    requests: AsyncIterator[Part],
    loop: asyncio.AbstractEventLoop,
    clock: Callable[[], float],
    digest: Digest,
) -> Iterator[bytes]:
    sender = _Sender(requests, loop, clock)
    while (part := sender.part(digest.size_bytes)) is not None:
        if part.HasField("header"):
            raise InvalidArgument("header", "was sent twice")
        if part.HasField("end"):
            _check_end(part.end, digest)
            if sender.part(digest.size_bytes) is not None:
                raise InvalidArgument("end", "has to come last")
            shares.give_back_restore()
            return
        if len(part.data) > MAX_DATA_BYTES:
            reason = f"{len(part.data)} bytes are more than {MAX_DATA_BYTES}"
            raise InvalidArgument("data", reason)
        digest.update(part.data)
        yield part.data
    raise InvalidArgument("end", "is missing: the stream is incomplete")


class _Sender:
    """A caller who sends a stream. A slow one is given up, as it keeps others from restoring."""

    def __init__(
        self,
        requests: AsyncIterator[Any],
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
    ) -> None:
        self._requests = requests
        self._loop = loop
        self._clock = clock
        self._waited_seconds = 0.0

    def part(self, received_bytes: int) -> Any:
        """Return the next message, or None at the end of the stream. Not for the event loop.

        Blocks. Raises InvalidArgument if nothing arrives for a while, or too little in all; and
        MemoryExhausted.
        """

        async def next_value() -> Any:
            return await anext(self._requests, None)

        shares.hold_restore()

        allowed = IDLE_SECONDS + received_bytes / limits.MIN_SENT_BYTES_PER_SECOND
        left_seconds = min(IDLE_SECONDS, allowed - self._waited_seconds)
        begun = self._clock()
        future = asyncio.run_coroutine_threadsafe(next_value(), self._loop)
        try:
            return future.result(max(0.0, left_seconds))
        except TimeoutError:
            future.cancel()
            raise InvalidArgument(
                "data",
                _nothing_arrived()
                if left_seconds == IDLE_SECONDS
                else f"less than {limits.MIN_SENT_BYTES_PER_SECOND} bytes arrived in a second",
            ) from None
        finally:
            self._waited_seconds += self._clock() - begun


def _nothing_arrived() -> str:
    return f"nothing arrived for {IDLE_SECONDS} seconds"


def _check_end(end: storer_pb2.StreamEnd, received: Digest) -> None:
    if end.size_bytes != received.size_bytes:
        reason = f"{received.size_bytes} bytes arrived, not {end.size_bytes}"
        raise InvalidArgument("end.size_bytes", reason)
    if end.sha256 != received.sha256:
        raise InvalidArgument("end.sha256", "is not the digest of the data that arrived")
