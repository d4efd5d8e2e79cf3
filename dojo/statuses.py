"""Which gRPC status each error of the domain becomes, and the interceptor that sees to it."""

from __future__ import annotations

import asyncio
import errno
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, NoReturn

import grpc
import grpc.aio
import structlog
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from dojo import errors

_log = structlog.get_logger()

DOMAIN = "cyber-dojo"

STATUSES: Mapping[type[errors.DojoError], grpc.StatusCode] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.StaleNumber: grpc.StatusCode.ABORTED,
    errors.ImageMissing: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Exhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.EngineUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.RegistryUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.KataDamaged: grpc.StatusCode.DATA_LOSS,
}
"""Every DojoError is here, or one of its bases is; the nearest decides."""

# What the operating system says when there is no room left.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


def status_of(error: Exception) -> status_pb2.Status:
    """Return the status, with its details, that a caller gets for `error`.

    What is neither a DojoError nor a full disk is a defect of ours: INTERNAL, without a word
    of what happened but a reference that finds it in the log.
    """
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        error = errors.DiskFull(str(error.strerror))
    for kind in type(error).__mro__:
        if kind in STATUSES:
            return _status(STATUSES[kind], str(error), _details(error))
    reference = secrets.token_hex(4)
    _log.error("defect", reference=reference, exc_info=error)
    return _status(grpc.StatusCode.INTERNAL, f"a defect, logged as {reference}", [])


def _details(error: Exception) -> list[Message]:
    """Return what a program can read of an error, beside its message."""
    if isinstance(error, errors.InvalidArgument):
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field, description=error.reason
        )
        return [error_details_pb2.BadRequest(field_violations=[violation])]
    if isinstance(error, errors.StaleNumber):
        metadata = {"newest_number": str(error.newest)}
        return [
            error_details_pb2.ErrorInfo(reason="STALE_NUMBER", domain=DOMAIN, metadata=metadata)
        ]
    return []


def _status(code: grpc.StatusCode, text: str, details: list[Message]) -> status_pb2.Status:
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    number, _ = code.value
    return status_pb2.Status(code=number, message=text, details=packed)


class StatusInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Around every RPC: its name and kata on each log line, its errors as statuses."""

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
        # Health and reflection are the libraries' own, and have nothing of ours to map.
        if handler is None or not method.startswith("/cyberdojo."):
            return handler
        rpc = method.rpartition("/")[2]
        how: dict[str, Any] = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(_answer(handler.unary_unary, rpc), **how)
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(_stream(handler.unary_stream, rpc), **how)
        if handler.stream_unary:
            return grpc.stream_unary_rpc_method_handler(_answer(handler.stream_unary, rpc), **how)
        raise NotImplementedError("no RPC of ours streams in both directions")


def _answer(behaviour: Callable[..., Any], rpc: str) -> Any:
    async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        with structlog.contextvars.bound_contextvars(**_fields(rpc, request)):
            try:
                return await behaviour(request, context)
            except asyncio.CancelledError:
                _log.info("cancelled")
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it becomes a status
                await _abort(context, error)

    return answer


def _stream(behaviour: Callable[..., Any], rpc: str) -> Any:
    async def stream(
        request: Any, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[Any]:
        with structlog.contextvars.bound_contextvars(**_fields(rpc, request)):
            try:
                async for response in behaviour(request, context):
                    yield response
            except asyncio.CancelledError:
                _log.info("cancelled")
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it becomes a status
                await _abort(context, error)

    return stream


def _fields(rpc: str, request: Any) -> dict[str, str]:
    """Return what every log line of a call says."""
    found = {"rpc": rpc}
    for name, field in (("kata", "kata_id"), ("avatar", "avatar")):
        if value := getattr(request, field, ""):
            found[name] = str(value)[:40]
    return found


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: Exception) -> NoReturn:
    if isinstance(error, grpc.aio.AbortError):  # aborted already, by the behaviour itself
        raise error
    status = status_of(error)
    _log.info("refused", code=status.code, reason=status.message)
    await context.abort_with_status(  # type: ignore[attr-defined]  # missing in the stubs
        rpc_status.to_status(status)
    )
    raise AssertionError("abort returned")
