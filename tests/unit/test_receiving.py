"""Only so many messages arrive at the same time, and slow senders hold up nobody for long."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import grpc
import grpc.aio
import pytest

from dojo import limits
from dojo.errors import MemoryExhausted
from dojo.service.interceptor import StatusInterceptor
from dojo.service.receiving import Receiving

T = TypeVar("T")

SERVICE = "cyberdojo.test.Service"


class CountedReceiving(Receiving):
    """Counts the messages that it let arrive."""

    count = 0

    async def one(self, read: Callable[[], Awaitable[T]]) -> T:
        """Return the message that `read` receives."""
        self.count += 1
        return await super().one(read)


async def never() -> bytes:
    return bytes(await asyncio.get_running_loop().create_future())


async def at_once() -> bytes:
    return b"message"


async def _answer(request: bytes, _: object) -> bytes:
    return request * 2


async def _answer_in_parts(request: bytes, _: object) -> AsyncIterator[bytes]:
    yield request
    yield request


@pytest.mark.parametrize("rpc", ["Once", "InParts"])
def test_a_single_request_waits_for_its_turn_whatever_answers_it(rpc: str) -> None:
    async def main() -> None:
        receiving = CountedReceiving(limits.MESSAGE_BYTES)
        server = grpc.aio.server(interceptors=[StatusInterceptor(receiving)])
        codecs: dict[str, Any] = {"request_deserializer": bytes, "response_serializer": bytes}
        handlers = {
            "Once": grpc.unary_unary_rpc_method_handler(_answer, **codecs),
            "InParts": grpc.unary_stream_rpc_method_handler(_answer_in_parts, **codecs),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                if rpc == "Once":
                    answer = await channel.unary_unary(f"/{SERVICE}/{rpc}", None, None)(b"a")
                else:
                    call = channel.unary_stream(f"/{SERVICE}/{rpc}", None, None)(b"a")
                    answer = b"".join([part async for part in call])
        finally:
            await server.stop(None)
        assert answer == b"aa"
        assert receiving.count == 1

    asyncio.run(main())


@pytest.fixture
def at_once_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each message count as large at once, and as slow soon."""
    monkeypatch.setattr(limits, "SMALL_RECEIVE_SECONDS", 0.0)
    monkeypatch.setattr(limits, "FAST_RECEIVE_SECONDS", 0.0)


async def large(receiving: Receiving) -> asyncio.Task[bytes]:
    """Return what receives a message that never comes, when that counts as large."""
    task = asyncio.create_task(receiving.one(never))
    for _ in range(3):  # it begins, its time is over, and that is noted
        await asyncio.sleep(0)
    return task


def test_those_who_send_nothing_hold_up_nobody() -> None:
    async def main() -> None:
        receiving = Receiving(limits.MESSAGE_BYTES)
        silent = [asyncio.create_task(receiving.one(never)) for _ in range(64)]
        await asyncio.sleep(0)
        assert await receiving.one(at_once) == b"message"
        assert not any(each.done() for each in silent)
        for each in silent:
            each.cancel()

    asyncio.run(main())


@pytest.mark.usefixtures("at_once_large")
def test_more_large_messages_than_may_arrive_at_once_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "FAST_RECEIVE_SECONDS", 60.0)

    async def main() -> None:
        receiving = Receiving(limits.MESSAGE_BYTES)
        first = await large(receiving)
        with pytest.raises(MemoryExhausted, match="takes too long to arrive"):
            await receiving.one(never)
        assert not first.done()
        first.cancel()

    asyncio.run(main())


@pytest.mark.usefixtures("at_once_large")
def test_the_slowest_is_given_up_for_another() -> None:
    async def main() -> None:
        receiving = Receiving(200 * limits.MESSAGE_BYTES // limits.RECEIVED_MEMORY_PERCENT + 100)
        slow, other = await large(receiving), await large(receiving)
        newest = await large(receiving)
        with pytest.raises(MemoryExhausted, match="takes too long to arrive"):
            await slow
        assert not other.done()
        assert not newest.done()
        other.cancel()
        newest.cancel()

    asyncio.run(main())


@pytest.mark.usefixtures("at_once_large")
def test_a_request_that_does_not_arrive_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RECEIVE_SECONDS", 0.01)

    async def main() -> None:
        receiving = Receiving(limits.MESSAGE_BYTES)
        for _ in range(3):
            with pytest.raises(MemoryExhausted):
                await receiving.one(never)

    asyncio.run(main())
