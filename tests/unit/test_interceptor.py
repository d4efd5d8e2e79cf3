"""What calls hold is given back, whatever their callers do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from dojo import limits
from dojo.errors import MemoryExhausted
from dojo.service import interceptor as interceptor_module
from dojo.service.interceptor import StatusInterceptor
from dojo.service.pacing import Pace
from dojo.service.receiving import Receiving
from dojo.service.wrapped_handlers import Handler
from dojo.shares import Memory

SERVICE = "cyberdojo.test.Service"
METHOD = f"/{SERVICE}/Call"
CODECS: dict[str, Any] = {"request_deserializer": bytes, "response_serializer": bytes}


@asynccontextmanager
async def _served(
    handler: Handler, memory: Memory, pace: Pace | None = None
) -> AsyncIterator[grpc.aio.Channel]:
    """Serve METHOD; give a channel to it."""
    interceptor = StatusInterceptor(Receiving(limits.MESSAGE_BYTES), memory)
    interceptor._pace = pace or interceptor._pace
    server = grpc.aio.server(
        interceptors=[interceptor], options=[("grpc.max_receive_message_length", -1)]
    )
    handlers = {"Call": handler}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(None)


def _is_used_up(memory: Memory) -> bool:
    try:
        with memory.restores.taken(1):
            return False
    except MemoryExhausted:
        return True


def test_a_caller_who_restores_and_reads_no_reports_gives_its_memory_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "UNREAD_SECONDS", 0.05)
    memory = Memory(1)  # for one restore

    async def main() -> None:
        is_over = asyncio.Event()
        was_held: list[bool] = []

        async def restore(_: Any, __: Any) -> AsyncIterator[bytes]:
            try:
                while True:
                    was_held.append(_is_used_up(memory))
                    yield bytes(limits.STREAM_MESSAGE_BYTES)
            finally:
                is_over.set()

        handler = grpc.stream_stream_rpc_method_handler(restore, **CODECS)
        async with _served(handler, memory) as channel:
            call = channel.stream_stream(METHOD, None, None)(None)
            await call.write(b"a")
            await is_over.wait()
            assert was_held
            assert all(was_held)
            assert not _is_used_up(memory)
            call.cancel()

    asyncio.run(main())


def test_a_call_without_room_is_refused_late_and_holds_nothing_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "REFUSED_SECONDS", 123.0)
    monkeypatch.setattr(MemoryExhausted, "retry_seconds", 123.0)
    memory = Memory(limits.MESSAGE_BYTES)
    request = bytes(limits.SMALL_BYTES + 1)
    all_of_it = limits.MESSAGE_BYTES * limits.CALLS_MEMORY_PERCENT // 100

    async def main() -> None:
        kept = asyncio.Event()
        go_on = asyncio.Event()

        async def sleep(seconds: float) -> None:
            assert seconds == 123.0
            with memory.calls.taken(all_of_it):
                kept.set()
            await go_on.wait()

        async def refuse(_: Any, __: Any) -> bytes:
            with pytest.raises(MemoryExhausted), memory.calls.taken(all_of_it):
                pass
            raise MemoryExhausted("others")

        handler = grpc.unary_unary_rpc_method_handler(refuse, **CODECS)
        async with _served(handler, memory) as channel:
            monkeypatch.setattr(asyncio, "sleep", sleep)
            call = channel.unary_unary(METHOD, None, None)(request)
            await kept.wait()
            assert not call.done()
            go_on.set()
            assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    asyncio.run(main())


def test_a_large_request_is_refused_before_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async def wait(_: float) -> None:
            await asyncio.Event().wait()

        pace = Pace(lambda: 0.0, wait)
        await pace.turn(limits.MESSAGE_BYTES)  # the next one waits for ever
        memory = Memory(1)
        handler = grpc.unary_unary_rpc_method_handler(lambda *_: b"", **CODECS)
        request = bytes(limits.QUICK_MESSAGE_BYTES + 1)
        monkeypatch.setattr(interceptor_module, "_TELL_SECONDS", 60)
        async with _served(handler, memory, pace) as channel:
            call = channel.unary_unary(METHOD, None, None)(request, timeout=60.2)
            assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    asyncio.run(main())


def test_a_message_of_a_stream_that_is_too_large_takes_its_turn() -> None:
    async def main() -> None:
        waited: list[float] = []

        async def wait(seconds: float) -> None:
            waited.append(seconds)

        async def restore(requests: AsyncIterator[Any], _: Any) -> bytes:
            async for _ in requests:
                pass
            return b""

        pace = Pace(lambda: 0.0, wait)
        await pace.turn(limits.MESSAGE_BYTES)
        handler = grpc.stream_unary_rpc_method_handler(restore, **CODECS)
        small = bytes(limits.STREAM_MESSAGE_BYTES)
        async with _served(handler, Memory(2**30), pace) as channel:
            restoring = channel.stream_unary(METHOD, None, None)
            code = await restoring(iter([small, small + b"x"]), timeout=60).code()
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert len(waited) == 0  # it is in the queue of those that are quick
            code = await restoring(iter([small + bytes(2**23)]), timeout=60).code()
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert len(waited) == 1

    asyncio.run(main())
