"""Streams that come in: a caller who sends nothing, or hardly anything, is given up."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from cyberdojo.storer.v1 import storer_pb2
from dojo import limits
from dojo.errors import InvalidArgument
from dojo.service.call_threads import CallThreads
from storer.api import streaming
from storer.api.streaming import Streams
from support.storer.storing import restore_requests

Request = storer_pb2.RestoreKataRequest
PAUSE_SECONDS = streaming.IDLE_SECONDS / 10


class Clock:
    """A clock that goes on while a caller pauses, and at no other time."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.seconds

    def pause(self) -> None:
        """Let pass a part of the time for which a caller may send nothing."""
        self.seconds += PAUSE_SECONDS


Caller = Callable[[Clock], AsyncIterator[Request]]


@pytest.fixture
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "IDLE_SECONDS", 0.1)


async def nothing(_: Clock) -> AsyncIterator[Request]:
    """Send nothing, and do not end."""
    await asyncio.Event().wait()
    yield Request()


async def byte_by_byte(clock: Clock) -> AsyncIterator[Request]:
    """Send one byte after the other, without an end."""
    while True:
        clock.pause()
        yield Request(data=b"x")


async def slowly_but_enough(clock: Clock) -> AsyncIterator[Request]:
    """Send a stream that takes longer than a caller may send nothing."""
    size = int(limits.MIN_SENT_BYTES_PER_SECOND * PAUSE_SECONDS) + 1
    for request in list(restore_requests(bytes(20 * size)))[1:]:
        if request.HasField("end"):
            yield request
        for at in range(0, len(request.data), size):
            clock.pause()
            yield Request(data=request.data[at : at + size])


def received(caller: Caller) -> tuple[int, float]:
    """Return how many bytes a caller sent, received as a restore is, and in how many seconds."""
    clock = Clock()

    def count(pieces: Iterator[bytes]) -> int:
        return sum(map(len, pieces))

    async def receive() -> int:
        streams = Streams(CallThreads(1, "test"), CallThreads(1, "receiver"), clock)
        return await streams.receive(caller(clock), count)

    return asyncio.run(receive()), clock.seconds


@pytest.mark.usefixtures("_short_waits")
def test_a_caller_who_sends_no_header_is_given_up() -> None:
    async def receive() -> None:
        streams = Streams(CallThreads(1, "test"), CallThreads(1, "receiver"))
        await streams.header(nothing(Clock()))

    with pytest.raises(InvalidArgument, match="header: nothing arrived"):
        asyncio.run(receive())


@pytest.mark.usefixtures("_short_waits")
def test_a_caller_who_sends_nothing_more_is_given_up() -> None:
    with pytest.raises(InvalidArgument, match="data: nothing arrived"):
        received(nothing)


def test_a_caller_who_sends_hardly_anything_is_given_up() -> None:
    with pytest.raises(InvalidArgument, match="data: less than 4096 bytes arrived in a second"):
        received(byte_by_byte)


def test_a_slow_caller_who_sends_enough_is_not_given_up() -> None:
    size, seconds = received(slowly_but_enough)
    assert seconds > streaming.IDLE_SECONDS
    assert size > limits.MIN_SENT_BYTES_PER_SECOND * seconds
