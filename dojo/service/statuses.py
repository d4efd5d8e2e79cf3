"""Which gRPC status each error of the domain becomes, and the interceptor that sees to it."""

from __future__ import annotations

import asyncio
import datetime as dt
import errno
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, NoReturn

import grpc
import grpc.aio
import structlog
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError, Message
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
    errors.UnknownBackup: grpc.StatusCode.FAILED_PRECONDITION,
    errors.DiskReadOnly: grpc.StatusCode.FAILED_PRECONDITION,
    errors.EngineUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.ArchiveUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.StorerUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.ArchiveDamaged: grpc.StatusCode.DATA_LOSS,
    errors.KataInUse: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ArchiveMissing: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ArchiveConflict: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Stopping: grpc.StatusCode.UNAVAILABLE,
    errors.RegistryUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.KataDamaged: grpc.StatusCode.DATA_LOSS,
    errors.StartPointDamaged: grpc.StatusCode.DATA_LOSS,
}
"""Every DojoError is here, or one of its bases is; the nearest decides."""

# A status travels in trailers, of which gRPC takes 8 KiB: more, and the caller would be told of
# that instead. Percent-encoded and packed a second time, this stays below.
MAX_TEXT_BYTES = 1000

# What the operating system says when there is no room left.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


def status_of(error: Exception) -> status_pb2.Status:
    """Return the status, with its details, that a caller gets for `error`.

    What is neither a DojoError nor a disk that takes no more is a defect of ours: INTERNAL,
    without a word of what happened but a reference that finds it in the log.
    """
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        error = errors.DiskFull(str(error.strerror))
    elif isinstance(error, OSError) and error.errno == errno.EROFS:
        error = errors.DiskReadOnly(str(error.strerror))
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
            field=_clipped(error.field), description=_clipped(error.reason)
        )
        return [error_details_pb2.BadRequest(field_violations=[violation])]
    if isinstance(error, errors.RunsExhausted):
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromTimedelta(dt.timedelta(seconds=error.retry_seconds))
        return [retry]
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
    return status_pb2.Status(code=number, message=_clipped(text), details=packed)


def _clipped(text: str) -> str:
    """Return as much of a text as a status can carry; a message can quote what it was sent."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) > MAX_TEXT_BYTES:
        encoded = encoded[:MAX_TEXT_BYTES] + b"..."
    return encoded.decode("utf-8", "ignore")


class _Unreadable:
    """Stands for a request that could not be parsed, until there is a call to refuse."""


def _reading(parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Return `parse`, which gives an _Unreadable where it would raise.

    What it raises would be logged by gRPC as a defect, and told to the caller as one.
    """

    def read(message: bytes) -> Any:
        try:
            return parse(message)
        except DecodeError:
            return _Unreadable()

    return read


def _writing(serialize: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """Return `serialize`, for responses some of which are serialized already: a stream's chunks."""

    def write(response: Any) -> bytes:
        return response if isinstance(response, bytes) else serialize(response)

    return write


def _checked(request: Any) -> Any:
    """Return a request that could be parsed; raise InvalidArgument for one that could not."""
    if isinstance(request, _Unreadable):
        raise errors.InvalidArgument(
            "request", "can't be parsed: a string is not UTF-8, or it is cut off or nested too deep"
        )
    return request


async def _checked_each(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _checked(request)


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
            "request_deserializer": _reading(
                handler.request_deserializer  # type: ignore[arg-type]  # ours are generated
            ),
            "response_serializer": _writing(
                handler.response_serializer  # type: ignore[arg-type]  # likewise
            ),
        }
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(_answer(handler.unary_unary, rpc), **how)
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(_stream(handler.unary_stream, rpc), **how)
        if handler.stream_stream:
            return grpc.stream_stream_rpc_method_handler(
                _stream(handler.stream_stream, rpc, _checked_each), **how
            )
        if handler.stream_unary:
            return grpc.stream_unary_rpc_method_handler(
                _answer(handler.stream_unary, rpc, _checked_each), **how
            )
        raise NotImplementedError("there are no other kinds of RPC")


def _answer(
    behaviour: Callable[..., Any], rpc: str, checked: Callable[[Any], Any] = _checked
) -> Any:
    async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        with structlog.contextvars.bound_contextvars(**_fields(rpc, request)):
            try:
                return await behaviour(checked(request), context)
            except asyncio.CancelledError:
                _log.info("cancelled")
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it becomes a status
                await _abort(context, error)

    return answer


def _stream(
    behaviour: Callable[..., Any], rpc: str, checked: Callable[[Any], Any] = _checked
) -> Any:
    # It writes, and does not yield: a caller who goes while a response waits for being taken
    # then cancels what is below here, and not only what is above.
    async def stream(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        with structlog.contextvars.bound_contextvars(**_fields(rpc, request)):
            try:
                async with aclosing(behaviour(checked(request), context)) as responses:
                    async for response in responses:
                        await _write(context, response)
            except asyncio.CancelledError:
                _log.info("cancelled")
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it becomes a status
                await _abort(context, error)

    return stream


async def _write(context: grpc.aio.ServicerContext[Any, Any], response: Any) -> None:
    try:
        await context.write(response)
    except grpc.aio.InternalError:  # the caller went, and its cancellation is still under way
        raise asyncio.CancelledError from None


def _fields(rpc: str, request: Any) -> dict[str, str]:
    """Return what every log line of a call says."""
    found = {"rpc": rpc}
    request = getattr(request, "run", request)  # what RunStream's is about
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
