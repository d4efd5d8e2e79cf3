"""The gRPC interceptor around every RPC: log fields, and a status for every error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, ExitStack, aclosing, nullcontext, suppress
from typing import Any, NoReturn

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError
from grpc_status import rpc_status
from structlog.contextvars import bind_contextvars

from dojo import limits, shares
from dojo.access.guesses import Guesses
from dojo.errors import (
    Busy,
    Exhausted,
    InvalidArgument,
    MemoryExhausted,
    MessageTooLarge,
    NothingRead,
)
from dojo.service.pacing import Pace
from dojo.service.receiving import Receiving, note_request_bytes
from dojo.service.statuses import status_of
from dojo.service.wrapped_handlers import Handler, WrappedHandlers
from dojo.shares import Memory

_log = structlog.get_logger()

_Context = grpc.aio.ServicerContext[Any, Any]

_TELL_SECONDS = 2  # what is left of a caller's deadline, to tell of a refusal

# Answers a request, or a stream of requests.
_Respond = Callable[[Any, _Context], Awaitable[Any]]


class StatusInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Puts the RPC, kata and avatar on each log line of a call, and turns errors into statuses.

    With `memory`, requests and single responses take their part of it. With `guesses`, ids that no
    kata has are counted there.
    """

    def __init__(
        self,
        receiving: Receiving,
        memory: Memory | None = None,
        guesses: Guesses | None = None,
        request_factor: int = limits.REQUEST_FACTOR,
    ) -> None:
        """Count each byte of a request as `request_factor` bytes of memory."""
        self._receiving = receiving
        self._request_factor = request_factor
        self._memory = memory
        self._pace = Pace()
        self._guesses = guesses
        self._handlers = WrappedHandlers(self._wrapped)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Wrap the handler, if there is one."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        # Health checking and reflection belong to libraries, and raise none of our errors.
        if handler is None or not method.startswith("/cyberdojo."):
            return handler
        return self._handlers.of(method, handler)

    def _wrapped(self, method: str, handler: Handler) -> Handler:
        rpc = method.rpartition("/")[2]
        codecs: dict[str, Any] = {
            "response_serializer": _passing_bytes(
                handler.response_serializer  # type: ignore[arg-type]  # ours are generated
            ),
        }
        # A single request too is received as a stream: when this asks for it, and not before.
        if handler.unary_unary:
            return grpc.stream_unary_rpc_method_handler(
                self._receiving_one(handler, rpc, self._respond(handler.unary_unary)),
                **codecs,
            )
        if handler.unary_stream:
            return grpc.stream_stream_rpc_method_handler(
                self._receiving_one(handler, rpc, _respond_in_parts(handler.unary_stream)),
                **codecs,
            )
        codecs["request_deserializer"] = _deferring_errors(
            handler.request_deserializer,  # type: ignore[arg-type]  # likewise
            limits.STREAM_MESSAGE_BYTES,
        )
        if handler.stream_stream:
            return grpc.stream_stream_rpc_method_handler(
                self._receiving_many(
                    rpc, _respond_in_parts(handler.stream_stream, limits.UNREAD_SECONDS)
                ),
                **codecs,
            )
        if handler.stream_unary:
            return grpc.stream_unary_rpc_method_handler(
                self._receiving_many(rpc, self._respond(handler.stream_unary)), **codecs
            )
        raise NotImplementedError("there are no other kinds of RPC")

    def _receiving_one(self, handler: Handler, rpc: str, respond: _Respond) -> Any:
        parse = _deferring_errors(handler.request_deserializer)  # type: ignore[arg-type]  # as above

        async def call(_: AsyncIterator[bytes], context: _Context) -> Any:
            shares.use(self._memory)
            with ExitStack() as taken:
                request = None
                try:
                    request = await self._receive(context, parse, taken)
                except asyncio.CancelledError:
                    raise
                except Exception as error:  # noqa: BLE001 - whatever it is, it becomes a status
                    bind_contextvars(rpc=rpc)
                    await _abort(context, error)
                bind_contextvars(**_log_fields(rpc, request))
                try:
                    with self._watching(request):
                        return await respond(_parsed(request), context)
                except asyncio.CancelledError:
                    _log.info("cancelled")
                    raise
                except Exception as error:  # noqa: BLE001 - as above
                    del request  # gRPC keeps the frames of a refused call for a while
                    taken.close()
                    await _abort(context, error)

        return call

    def _receiving_many(self, rpc: str, respond: _Respond) -> Any:
        async def call(requests: AsyncIterator[Any], context: _Context) -> Any:
            shares.use(self._memory)
            bind_contextvars(rpc=rpc)
            with ExitStack() as taken:
                try:
                    if self._memory is not None:
                        taken.callback(shares.Restore(self._memory).give_back)
                    return await respond(self._parsed_each(requests, context), context)
                except asyncio.CancelledError:
                    _log.info("cancelled")
                    raise
                except Exception as error:  # noqa: BLE001 - whatever it is, it becomes a status
                    taken.close()  # a caller who reads nothing does not get the status either
                    await _abort(context, error)

        return call

    def _watching(self, request: Any) -> AbstractContextManager[None]:
        return nullcontext() if self._guesses is None else self._guesses.watching(request)

    async def _receive(
        self, context: _Context, parse: Callable[[bytes], Any], taken: ExitStack
    ) -> Any:
        """Return the request of a call, for which memory is taken."""
        # Not by the iterator, which would keep the message until the call is over.
        message = await self._receiving.one(context.read)
        if not isinstance(message, bytes):  # the caller sent none
            raise InvalidArgument("request", "is missing")
        size = len(message)
        note_request_bytes(size)
        if self._memory is not None and size > limits.SMALL_BYTES:
            try:
                taken.enter_context(self._memory.calls.taken(self._request_factor * size))
            except MemoryExhausted:
                message = b""  # the traceback would keep it until the caller has the answer
                await self._pace_refused(size, context)
                raise
            await self._pace.turn(size)
        return parse(message)

    async def _pace_refused(self, size: int, context: _Context) -> None:
        """Wait for the turn of a message that is refused: it took its time all the same.

        Before the caller's deadline this ends, or the caller would not learn of the refusal.
        """
        left = context.time_remaining()
        seconds = None if left is None else max(left - _TELL_SECONDS, 0)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._pace.turn(size, is_refused=True)

    async def _parsed_each(
        self, requests: AsyncIterator[Any], context: _Context
    ) -> AsyncIterator[Any]:
        async for request in requests:
            if isinstance(request, _MalformedRequest):
                await self._pace_refused(request.size, context)
            yield _parsed(request)

    def _respond(self, behaviour: Any) -> _Respond:
        async def respond(request: Any, context: _Context) -> Any:
            response = await behaviour(request, context)
            if self._memory is not None:
                response = response if isinstance(response, bytes) else response.SerializeToString()
                size = len(response)
                if size > limits.SMALL_BYTES:
                    _take_until_sent(self._memory, size, context)
                    await self._pace.turn(size)
            return response

        return respond


class _MalformedRequest:
    """Stands for a request that could not be parsed, until there is a call to refuse."""

    def __init__(self, error: InvalidArgument, size: int) -> None:
        self.error = error
        self.size = size


def _deferring_errors(
    parse: Callable[[bytes], Any], most_bytes: int = limits.MESSAGE_BYTES
) -> Callable[[bytes], Any]:
    """Return a `parse` that returns a _MalformedRequest where it would raise DecodeError.

    If it raised, gRPC would log a defect, and answer the caller with one. More bytes than
    `most_bytes` are not parsed.
    """

    def deserialize(message: bytes) -> Any:
        if len(message) > most_bytes:
            return _MalformedRequest(MessageTooLarge(len(message), most_bytes), len(message))
        try:
            return parse(message)
        except DecodeError:
            reason = "can't be parsed: a string is not UTF-8, or it is cut off or nested too deep"
            return _MalformedRequest(InvalidArgument("request", reason), len(message))

    return deserialize


def _passing_bytes(serialize: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """Return a `serialize` that leaves responses alone that are serialized already."""

    def pass_or_serialize(response: Any) -> bytes:
        return response if isinstance(response, bytes) else serialize(response)

    return pass_or_serialize


def _parsed(request: Any) -> Any:
    """Return the request; raise InvalidArgument if it could not be parsed."""
    if isinstance(request, _MalformedRequest):
        raise request.error
    return request


def _take_until_sent(memory: Memory, size: int, context: _Context) -> None:
    """Take what a response needs until the call is over; raise MemoryExhausted."""
    taken = ExitStack()
    taken.enter_context(memory.calls.taken(limits.RESPONSE_FACTOR * size))
    context.add_done_callback(lambda _: taken.close())  # type: ignore[arg-type]  # any context


def _respond_in_parts(behaviour: Any, unread_seconds: float | None = None) -> _Respond:
    """Return what responds by a stream; it gives a caller up who reads nothing for so long."""

    # This writes the responses. If it yielded them, a caller that leaves while a response waits to
    # be sent would cancel gRPC's loop around it, and never the behaviour.
    async def respond(request: Any, context: _Context) -> None:
        async with aclosing(behaviour(request, context)) as responses:
            async for response in responses:
                try:
                    async with asyncio.timeout(unread_seconds):
                        await _write(context, response)
                except TimeoutError:
                    raise NothingRead(unread_seconds or 0.0) from None

    return respond


async def _write(context: _Context, response: Any) -> None:
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


async def _abort(context: _Context, error: Exception) -> NoReturn:
    if isinstance(error, grpc.aio.AbortError):  # the behaviour has aborted the call itself
        raise error
    status = status_of(error)
    error.__traceback__ = None  # its frames hold the request too
    _log.info("refused", code=status.code, reason=status.message)
    if isinstance(error, Exhausted) and isinstance(error, Busy):
        await asyncio.sleep(min(error.retry_seconds, limits.REFUSED_SECONDS))
    await context.abort_with_status(  # type: ignore[attr-defined]  # missing in the stubs
        rpc_status.to_status(status)
    )
    raise AssertionError("abort returned")
