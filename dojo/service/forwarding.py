"""The gRPC interceptor that lets another machine answer: the one that owns the kata of a call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import structlog

from dojo import channels, kata_ids, traces
from dojo.access import caller, gate
from dojo.errors import DojoError, KataMoved
from dojo.refusals import reason_of
from dojo.service.settings import CallerSettings
from dojo.service.wrapped_handlers import Handler, WrappedHandlers

_log = structlog.get_logger()

_Context = grpc.aio.ServicerContext[Any, Any]

# A call with this metadata was sent on by another machine, and is answered here.
FORWARDED_KEY = "cyber-dojo-forwarded"
# And with this one, the caller or a router has asked that machine for this kata, and not by chance.
# Its value is the machine's name.
WANTED_KEY = "cyber-dojo-wanted"
# The metadata by which routers choose a machine.
KATA_KEY = "kata-id"

_DETAILS = "grpc-status-details-bin"

# A machine is called again after a connection to it broke, as it may have been this machine's own
# network that was away. It can't be reached if no connection can be made.
_ATTEMPTS = 2

# Calls that a caller has to make again: done twice, they answer something else.
_REPEATED_BY_CALLER = frozenset({"DeleteKata"})


@dataclass(frozen=True)
class Elsewhere:
    """Another machine: its name, and the address (host:port) of its service."""

    node: str
    address: str


class Forwarding(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Sends calls on to the machine that owns their kata. Belongs to the event loop's thread."""

    def __init__(
        self,
        elsewhere: Callable[[str], Elsewhere | None],
        settings: CallerSettings,
        give_up: Callable[[str, str], Awaitable[bool]] | None = None,
        *,
        own_name: str,
    ) -> None:
        """`elsewhere` says where a kata is; None if this machine, `own_name`, is to answer.

        `give_up` gives a kata up that another machine wants, by whose name it is called too, and
        says whether it did.
        """
        self._own_name = own_name
        self._elsewhere = elsewhere
        self._give_up = give_up
        self._settings = settings
        self._channels: dict[str, tuple[grpc.aio.Channel, Any]] = {}
        self._calls: dict[str, set[Any]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._handlers = WrappedHandlers(self._wrapped)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Wrap the handler, if there is one."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith("/cyberdojo.") or handler.request_streaming:
            return handler
        self._loop = asyncio.get_running_loop()
        return self._handlers.of(method, handler)

    def node_gone(self, node: str) -> None:
        """End the calls that a machine was answering: it is gone. Any thread may call this."""

        def end() -> None:
            for call in list(self._calls.get(node, ())):
                call.cancel()

        if self._loop is not None:  # else no call came yet
            self._loop.call_soon_threadsafe(end)

    def parts_from_elsewhere(
        self, method: str, request: Any, kata_id: str
    ) -> AsyncGenerator[bytes, None] | None:
        """Return what yields another machine's answers to a call; None if none owns the kata.

        While it yields, it raises grpc.aio.AioRpcError, or KataMoved if the machine is gone.
        """
        place = self._elsewhere(kata_id)
        return None if place is None else self.parts(place, method, request, KataMoved(kata_id))

    async def parts(
        self, place: Elsewhere, method: str, request: Any, gone: DojoError
    ) -> AsyncGenerator[bytes, None]:
        """Yield another machine's answers to a call.

        Raises grpc.aio.AioRpcError, or `gone` if the machine is.
        """
        channel, options = self._channel(place.address, request)
        call = channel.unary_stream(method, _serialized, _as_it_is)(request, **options)
        try:
            with _Counted(self._calls, place.node, call):
                async for part in call:
                    yield part
        except asyncio.CancelledError:
            if caller_left():
                raise
            raise gone from None
        finally:
            call.cancel()

    async def call(
        self, name: str, address: str, method: str, request: Any, seconds: float
    ) -> bytes:
        """Call another machine; return its answer, serialized.

        Raises grpc.aio.AioRpcError, and asyncio.CancelledError if the machine is gone.
        """
        channel, options = self._channel(address, request)
        call = channel.unary_unary(method, _serialized, _as_it_is)(
            request, timeout=seconds, **options
        )
        with _Counted(self._calls, name, call):
            return bytes(await call)

    async def close(self) -> None:
        """Close the connections to other machines."""
        for channel, _ in self._channels.values():
            await channel.close(None)

    def _wrapped(self, method: str, handler: Handler) -> Handler:
        codecs: dict[str, Any] = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(
                self._one(method, handler.unary_unary), **codecs
            )
        return grpc.unary_stream_rpc_method_handler(
            self._parts(method, handler.unary_stream), **codecs
        )

    def _one(self, method: str, behaviour: Any) -> Any:
        async def call(request: Any, context: _Context) -> Any:
            for _ in range(_ATTEMPTS):
                place = await self._place(request, context)
                if place is None:
                    break
                channel, options = self._channel(place.address, request, context)
                forwarded = channel.unary_unary(method, _serialized, _as_it_is)(request, **options)
                try:
                    with _Counted(self._calls, place.node, forwarded):
                        return await forwarded
                except (grpc.aio.AioRpcError, asyncio.CancelledError) as error:
                    if not await self._is_broken(error, place, method, request, context):
                        break
            return await behaviour(request, context)

        return call

    def _parts(self, method: str, behaviour: Any) -> Any:
        async def stream(request: Any, context: _Context) -> AsyncIterator[Any]:
            is_begun = False
            for _ in range(_ATTEMPTS):
                place = await self._place(request, context)
                if place is None:
                    break
                channel, options = self._channel(place.address, request, context)
                forwarded = channel.unary_stream(method, _serialized, _as_it_is)(request, **options)
                try:
                    with _Counted(self._calls, place.node, forwarded):
                        async for part in forwarded:
                            is_begun = True
                            yield part
                        return
                except (grpc.aio.AioRpcError, asyncio.CancelledError) as error:
                    is_broken = await self._is_broken(error, place, method, request, context)
                    if is_begun:
                        raise KataMoved(_kata_id(request)) from None
                    if not is_broken:
                        break
                finally:
                    forwarded.cancel()
            async with aclosing(behaviour(request, context)) as parts:
                async for part in parts:
                    yield part

        return stream

    async def _is_broken(
        self, error: BaseException, place: Elsewhere, method: str, request: Any, context: _Context
    ) -> bool:
        """Return if the call may be made again; else end it.

        It can be made there if the connection is broken. Else the kata is no longer there.
        """
        if isinstance(error, grpc.aio.AioRpcError):
            trailers: Any = error.trailing_metadata() or ()
            is_refusal = error.code() is not grpc.StatusCode.UNAVAILABLE or any(
                key == _DETAILS for key, _ in trailers
            )
            if reason_of(error) == "KATA_MOVED":
                return False  # nothing was done there
            if is_refusal:
                await _refuse(context, error, tuple(trailers))
        elif caller_left():
            raise error
        _log.info("not answered elsewhere", node=place.node, reason=str(error)[:200])
        if not _may_repeat(method, request):
            raise KataMoved(_kata_id(request))
        return isinstance(error, grpc.aio.AioRpcError)

    async def _place(self, request: Any, context: _Context) -> Elsewhere | None:
        """Return which machine is to answer; None if this one is. Raises KataMoved."""
        kata_id = _kata_id(request)
        if not kata_id:
            return None
        told = {key: str(value) for key, value in context.invocation_metadata() or ()}
        if FORWARDED_KEY not in told:
            return self._elsewhere(kata_id)
        by = told.get(WANTED_KEY)
        if by is not None and self._give_up is not None and await self._give_up(kata_id, by):
            raise KataMoved(kata_id)
        return None

    def _channel(
        self, address: str, request: Any, context: _Context | None = None
    ) -> tuple[grpc.aio.Channel, dict[str, Any]]:
        """Return a channel to another machine, and the options of a call there."""
        if address not in self._channels:
            self._channels[address] = channels.open_forwarding_channel(address, self._settings)
        channel, metadata_of = self._channels[address]
        metadata = [
            (FORWARDED_KEY, "1"),
            *traces.metadata(),
            *metadata_of(request),
            *gate.metadata_on_behalf(caller.current()),
        ]
        if context is None:
            return channel, {"metadata": metadata}
        if any(key == KATA_KEY for key, _ in context.invocation_metadata() or ()):
            metadata.append((WANTED_KEY, self._own_name))
        return channel, {"timeout": context.time_remaining(), "metadata": metadata}


def is_forwarded(context: _Context) -> bool:
    """Say whether another machine has sent a call on to this one."""
    return any(key == FORWARDED_KEY for key, _ in context.invocation_metadata() or ())


def caller_left() -> bool:
    """Say whether a CancelledError is for this call, and not because another machine is gone."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _refuse(
    context: _Context, error: grpc.aio.AioRpcError, trailers: tuple[tuple[str, Any], ...]
) -> None:
    """End a call as another machine did."""
    try:
        await context.abort(error.code(), error.details() or "", trailers)
    except grpc.aio.InternalError:  # the caller left, or its time is up
        raise asyncio.CancelledError from None


class _Counted:
    """Keeps a call among those that a machine answers."""

    def __init__(self, calls: dict[str, set[Any]], node: str, call: Any) -> None:
        self._calls = calls.setdefault(node, set())
        self._call = call

    def __enter__(self) -> None:
        self._calls.add(self._call)

    def __exit__(self, *_: object) -> None:
        self._calls.discard(self._call)


def _kata_id(request: Any) -> str:
    """Return the id of the kata that a call is about; "" if it is about none, or many."""
    given = getattr(getattr(request, "run", request), "kata_id", "")  # RunStream's has a Run's
    if kata_ids.is_old(given):
        return kata_ids.of_old(given)
    return given if kata_ids.is_whole(given) else ""


def _may_repeat(method: str, request: Any) -> bool:
    """Say whether a call that may have been answered can be made again, with the same answer."""
    return bool(getattr(request, "request_id", "-")) and (
        method.rpartition("/")[2] not in _REPEATED_BY_CALLER
    )


def _as_it_is(answer: bytes) -> bytes:
    return answer


def _serialized(request: Any) -> bytes:
    content: bytes = request.SerializeToString()
    return content
