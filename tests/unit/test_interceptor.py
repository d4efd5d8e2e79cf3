"""What calls hold is given back, whatever their callers do."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from dojo import limits
from dojo.errors import MemoryExhausted
from dojo.service.interceptor import StatusInterceptor
from dojo.service.receiving import Receiving
from dojo.shares import Memory

SERVICE = "cyberdojo.test.Service"


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

        server = grpc.aio.server(
            interceptors=[StatusInterceptor(Receiving(limits.MESSAGE_BYTES), memory)]
        )
        codecs: dict[str, Any] = {"request_deserializer": bytes, "response_serializer": bytes}
        handlers = {"Restore": grpc.stream_stream_rpc_method_handler(restore, **codecs)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                call = channel.stream_stream(f"/{SERVICE}/Restore", None, None)(None)
                await call.write(b"a")
                await is_over.wait()
                assert was_held
                assert all(was_held)
                assert not _is_used_up(memory)
                call.cancel()
        finally:
            await server.stop(None)

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

        server = grpc.aio.server(
            interceptors=[StatusInterceptor(Receiving(limits.MESSAGE_BYTES), memory)]
        )
        codecs: dict[str, Any] = {"request_deserializer": bytes, "response_serializer": bytes}
        handlers = {"Get": grpc.unary_unary_rpc_method_handler(refuse, **codecs)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        monkeypatch.setattr(asyncio, "sleep", sleep)
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                call = channel.unary_unary(f"/{SERVICE}/Get", None, None)(request)
                await kept.wait()
                assert not call.done()
                go_on.set()
                assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        finally:
            await server.stop(None)

    asyncio.run(main())
