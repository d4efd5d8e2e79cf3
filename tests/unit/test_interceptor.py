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
