"""Each call is counted, timed and logged, whatever becomes of it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
import structlog

from dojo.errors import KataNotFound
from dojo.metrics import OTHER, REGISTRY
from dojo.service import log
from dojo.service.call_recorder import CallRecorder
from dojo.service.interceptor import StatusInterceptor
from dojo.service.receiving import Receiving

SERVICE = "cyberdojo.test.Recorded"
ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = ("traceparent", f"00-{ID}-00f067aa0ba902b7-01")

Call = Callable[[grpc.aio.Channel], Awaitable[Any]]


class Denying(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Refuses calls with a certain header, before anything is parsed."""

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        handler = await continuation(handler_call_details)
        if ("denied", "yes") not in handler_call_details.invocation_metadata:
            return handler

        async def deny(_: bytes, context: Any) -> AsyncIterator[bytes]:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "no")
            yield b""

        return grpc.unary_stream_rpc_method_handler(deny)


async def answer(request: bytes, _: object) -> bytes:
    if request == b"missing":
        raise KataNotFound("493A06504A")
    if request == b"defect":
        raise ZeroDivisionError
    if request == b"long":
        await asyncio.get_running_loop().create_future()
    return b"an answer"


async def answer_twice(*_: object) -> AsyncIterator[bytes]:
    yield b"one"
    yield b"three"


def unary(name: str, request: bytes, **options: Any) -> Call:
    """Return a call that waits for its status."""

    async def call(channel: grpc.aio.Channel) -> None:
        await channel.unary_unary(f"/{SERVICE}/{name}", None, None)(request, **options).code()

    return call


def serve(call: Call, get: Any = answer, *, logs_calls: bool = False) -> None:
    """Make a call of a server that records it."""

    async def main() -> None:
        codecs: dict[str, Any] = {"request_deserializer": bytes, "response_serializer": bytes}
        handlers = {
            "Get": grpc.unary_unary_rpc_method_handler(get, **codecs),
            "Watch": grpc.unary_stream_rpc_method_handler(answer_twice, **codecs),
        }
        recorder = CallRecorder([f"/{SERVICE}/{each}" for each in handlers], logs_calls=logs_calls)
        server = grpc.aio.server(
            interceptors=[recorder, Denying(), StatusInterceptor(Receiving(2**30))]
        )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                await call(channel)
        finally:
            await server.stop(60)

    asyncio.run(main())


def count(name: str, method: str = "Get", **labels: str) -> float:
    service = OTHER if method == OTHER else SERVICE
    found = REGISTRY.get_sample_value(
        name, {"grpc_service": service, "grpc_method": method, **labels}
    )
    return found or 0


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (unary("Get", b"anything"), "OK"),
        (unary("Get", b"missing"), "NOT_FOUND"),
        (unary("Get", b"defect"), "INTERNAL"),
        (unary("Get", b"anything", metadata=[("denied", "yes")]), "PERMISSION_DENIED"),
        (unary("Get", b"long", timeout=0.2), "DEADLINE_EXCEEDED"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_call_is_counted_with_its_status(call: Call, code: str) -> None:
    before = count("grpc_server_handled_total", grpc_code=code)
    timed = count("grpc_server_handling_seconds_count")
    serve(call)
    assert count("grpc_server_handled_total", grpc_code=code) == before + 1
    assert count("grpc_server_handling_seconds_count") == timed + 1
    assert count("grpc_server_calls_in_progress") == 0


def test_a_caller_that_leaves_is_counted_and_no_call_stays_in_progress() -> None:
    begun = asyncio.Event()

    async def answer_never(*_: object) -> bytes:
        begun.set()
        return bytes(await asyncio.get_running_loop().create_future())

    async def leave(channel: grpc.aio.Channel) -> None:
        call = channel.unary_unary(f"/{SERVICE}/Get", None, None)(b"")
        await asyncio.wait_for(begun.wait(), 60)
        assert count("grpc_server_calls_in_progress") == 1
        call.cancel()

    before = count("grpc_server_handled_total", grpc_code="CANCELLED")
    serve(leave, answer_never)
    assert count("grpc_server_handled_total", grpc_code="CANCELLED") == before + 1
    assert count("grpc_server_calls_in_progress") == 0


def test_bytes_are_counted_in_both_directions() -> None:
    async def watch(channel: grpc.aio.Channel) -> None:
        stream = channel.unary_stream(f"/{SERVICE}/Watch", None, None)(b"1234567")
        assert [each async for each in stream] == [b"one", b"three"]

    serve(watch)
    assert count("grpc_server_received_bytes_total", "Watch") == 7
    assert count("grpc_server_sent_bytes_total", "Watch") == 8
    assert count("grpc_server_handled_total", "Watch", grpc_code="OK") == 1


def test_methods_that_there_are_not_share_one_label() -> None:
    before = count("grpc_server_handled_total", OTHER, grpc_code="UNIMPLEMENTED")

    async def guess(channel: grpc.aio.Channel) -> None:
        for name in ("A", "B"):
            await unary(name, b"")(channel)

    serve(guess)
    assert count("grpc_server_handled_total", OTHER, grpc_code="UNIMPLEMENTED") == before + 2
    assert count("grpc_server_started_total", "A") == 0


@pytest.mark.parametrize("level", ["access", "info"])
def test_a_call_has_a_line_at_the_level_access(
    level: str, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure(level)
    try:
        serve(unary("Get", b"missing", metadata=[TRACEPARENT]), logs_calls=level == "access")
    finally:
        structlog.reset_defaults()
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [each["trace"] for each in events if each["event"] == "refused"] == [ID]
    lines = [each for each in events if each["event"] == "call"]
    if level == "info":
        assert lines == []
        return
    (line,) = lines
    assert line.pop("milliseconds") > 0
    assert line.pop("address").startswith("ipv4:127.0.0.1:")
    assert line.pop("timestamp")
    assert line == {
        "event": "call", "level": "access", "rpc": "Get", "code": "NOT_FOUND", "trace": ID
    }  # fmt: skip
