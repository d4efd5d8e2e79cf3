"""The gRPC interceptor around every RPC: log fields, and a status for every error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, aclosing
from typing import Any, NoReturn

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError
from grpc_status import rpc_status
from structlog.contextvars import bind_contextvars

from dojo import limits
from dojo.errors import InvalidArgument, MemoryExhausted
from dojo.service.memory import Memory
from dojo.service.statuses import status_of

_log = structlog.get_logger()


class StatusInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Puts the RPC, kata and avatar on each log line of a call, and turns errors into statuses.

    With `memory`, the requests and responses that are no streams take their part of it.
    """

    def __init__(self, memory: Memory | None = None) -> None:
        self._memory = memory

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any]]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """Wrap the handler, if there is one."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        # Health checking and reflection belong to libraries, and raise none of our errors.
        if handler is None or not method.startswith("/cyberdojo."):
            return handler
        rpc = method.rpartition("/")[2]
        if handler.unary_unary and self._memory is not None:
            # As a stream of one request: so it is received when this asks for it, and not before.
            return grpc.stream_unary_rpc_method_handler(_bounded_unary(handler, rpc, self._memory))
        codecs: dict[str, Any] = {
            "request_deserializer": _deferring_errors(
                handler.request_deserializer  # type: ignore[arg-type]  # ours are generated
            ),
            "response_serializer": _passing_bytes(
                handler.response_serializer  # type: ignore[arg-type]  # likewise
            ),
        }
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(_unary(handler.unary_unary, rpc), **codecs)
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(
                _streaming(handler.unary_stream, rpc), **codecs
            )
        if handler.stream_stream:
            return grpc.stream_stream_rpc_method_handler(
                _streaming(handler.stream_stream, rpc, _parsed_each), **codecs
            )
        if handler.stream_unary:
            return grpc.stream_unary_rpc_method_handler(
                _unary(handler.stream_unary, rpc, _parsed_each), **codecs
            )
        raise NotImplementedError("there are no other kinds of RPC")


class _MalformedRequest:
    """Stands for a request that could not be parsed, until there is a call to refuse."""


def _deferring_errors(parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Return a `parse` that returns a _MalformedRequest where it would raise DecodeError.

    If it raised, gRPC would log a defect, and answer the caller with one.
    """

    def deserialize(message: bytes) -> Any:
        try:
            return parse(message)
        except DecodeError:
            return _MalformedRequest()

    return deserialize


def _passing_bytes(serialize: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """Return a `serialize` that leaves responses alone that are serialized already."""

    def pass_or_serialize(response: Any) -> bytes:
        return response if isinstance(response, bytes) else serialize(response)

    return pass_or_serialize


def _parsed(request: Any) -> Any:
    """Return the request; raise InvalidArgument if it could not be parsed."""
    if isinstance(request, _MalformedRequest):
        raise InvalidArgument(
            "request", "can't be parsed: a string is not UTF-8, or it is cut off or nested too deep"
        )
    return request


async def _parsed_each(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _parsed(request)


def _unary(behaviour: Callable[..., Any], rpc: str, parsed: Callable[[Any], Any] = _parsed) -> Any:
    async def unary(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        bind_contextvars(**_log_fields(rpc, request))
        try:
            return await behaviour(parsed(request), context)
        except asyncio.CancelledError:
            _log.info("cancelled")
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it becomes a status
            del request  # gRPC keeps the frames of a refused call until garbage is collected
            await _abort(context, error)

    return unary


def _bounded_unary(handler: grpc.RpcMethodHandler[Any, Any], rpc: str, memory: Memory) -> Any:
    parse = _deferring_errors(handler.request_deserializer)  # type: ignore[arg-type]  # generated
    serialize = _passing_bytes(handler.response_serializer)  # type: ignore[arg-type]  # likewise
    behaviour: Any = handler.unary_unary

    async def unary(_: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        with ExitStack() as taken:
            request = None
            try:
                # Not by the iterator, which would keep the message until the call is over.
                message = await memory.receive(context.read)
                if not isinstance(message, bytes):  # the caller sent none
                    raise InvalidArgument("request", "is missing")
                size = len(message)
                if size > limits.SMALL_BYTES:
                    try:
                        taken.enter_context(memory.taken(limits.REQUEST_FACTOR * size))
                    except MemoryExhausted:
                        message = b""  # the traceback would keep it until the caller has the answer
                        raise
                request = parse(message)
                del message
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it becomes a status
                bind_contextvars(rpc=rpc)
                await _abort(context, error)
            bind_contextvars(**_log_fields(rpc, request))
            try:
                response = serialize(await behaviour(_parsed(request), context))
                if len(response) > limits.SMALL_BYTES:
                    _take_until_sent(memory, len(response), context)
            except asyncio.CancelledError:
                _log.info("cancelled")
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it becomes a status
                await _abort(context, error)
            return response

    return unary


def _take_until_sent(
    memory: Memory, size: int, context: grpc.aio.ServicerContext[Any, Any]
) -> None:
    """Take what a response needs until the call is over; raise MemoryExhausted."""
    taken = ExitStack()
    taken.enter_context(memory.taken(limits.RESPONSE_FACTOR * size))
    context.add_done_callback(lambda _: taken.close())  # type: ignore[arg-type]  # any context


def _streaming(
    behaviour: Callable[..., Any], rpc: str, parsed: Callable[[Any], Any] = _parsed
) -> Any:
    # This handler writes its responses. If it yielded them, a caller that leaves while a response
    # waits to be sent would cancel gRPC's loop around it, and never the behaviour.
    async def streaming(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        bind_contextvars(**_log_fields(rpc, request))
        try:
            async with aclosing(behaviour(parsed(request), context)) as responses:
                async for response in responses:
                    await _write(context, response)
        except asyncio.CancelledError:
            _log.info("cancelled")
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it becomes a status
            del request  # gRPC keeps the frames of a refused call until garbage is collected
            await _abort(context, error)

    return streaming


async def _write(context: grpc.aio.ServicerContext[Any, Any], response: Any) -> None:
    try:
        await context.write(response)
    except grpc.aio.InternalError:  # the caller left, and gRPC has not cancelled the call yet
        raise asyncio.CancelledError from None


def _log_fields(rpc: str, request: Any) -> dict[str, str]:
    """Return the fields of every log line of a call.

    gRPC runs each call as a task, so they are bound to its context and go with it.
    """
    fields = {"rpc": rpc}
    request = getattr(request, "run", request)  # RunStream's request wraps that of Run
    for name, field in (("kata", "kata_id"), ("avatar", "avatar")):
        if value := getattr(request, field, ""):
            fields[name] = str(value)[:40]
    return fields


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: Exception) -> NoReturn:
    if isinstance(error, grpc.aio.AbortError):  # the behaviour has aborted the call itself
        raise error
    status = status_of(error)
    error.__traceback__ = None  # its frames hold the request too
    _log.info("refused", code=status.code, reason=status.message)
    await context.abort_with_status(  # type: ignore[attr-defined]  # missing in the stubs
        rpc_status.to_status(status)
    )
    raise AssertionError("abort returned")
