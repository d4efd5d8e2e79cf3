"""Streams that come in: a caller who sends nothing, or hardly anything, is given up."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from cyberdojo.storer.v1 import storer_pb2
from dojo import limits
from dojo.errors import InvalidArgument
from dojo.service.call_threads import CallThreads
from storer.api import streaming
from storer.api.streaming import Streams
from support.storer.storing import restore_requests

Request = storer_pb2.RestoreKataRequest
PAUSE_SECONDS = 0.02


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "IDLE_SECONDS", 10 * PAUSE_SECONDS)


async def nothing() -> AsyncIterator[Request]:
    """Send nothing, and do not end."""
    await asyncio.Event().wait()
    yield Request()


async def byte_by_byte() -> AsyncIterator[Request]:
    """Send one byte after the other, without an end."""
    while True:
        await asyncio.sleep(PAUSE_SECONDS)
        yield Request(data=b"x")


async def slowly_but_enough() -> AsyncIterator[Request]:
    """Send a stream that takes longer than a caller may send nothing."""
    size = 2 * int(limits.MIN_SENT_BYTES_PER_SECOND * PAUSE_SECONDS) + 1
    for request in list(restore_requests(bytes(20 * size)))[1:]:
        if request.HasField("end"):
            yield request
        for at in range(0, len(request.data), size):
            await asyncio.sleep(PAUSE_SECONDS)
            yield Request(data=request.data[at : at + size])


def received(requests: AsyncIterator[Request]) -> int:
    """Return how many bytes a stream has, received as a restore is."""

    def count(pieces: Iterator[bytes]) -> int:
        return sum(map(len, pieces))

    async def receive() -> int:
        streams = Streams(CallThreads(1, "test"), CallThreads(1, "receiver"))
        return await streams.receive(requests, count)

    return asyncio.run(receive())


def test_a_caller_who_sends_no_header_is_given_up() -> None:
    async def receive() -> None:
        await Streams(CallThreads(1, "test"), CallThreads(1, "receiver")).header(nothing())

    with pytest.raises(InvalidArgument, match="header: nothing arrived"):
        asyncio.run(receive())


def test_a_caller_who_sends_nothing_more_is_given_up() -> None:
    with pytest.raises(InvalidArgument, match="data: nothing arrived"):
        received(nothing())


def test_a_caller_who_sends_hardly_anything_is_given_up() -> None:
    with pytest.raises(InvalidArgument, match="data: less than 4096 bytes arrived in a second"):
        received(byte_by_byte())


def test_a_slow_caller_who_sends_enough_is_not_given_up() -> None:
    assert received(slowly_but_enough()) > 10 * PAUSE_SECONDS * limits.MIN_SENT_BYTES_PER_SECOND
