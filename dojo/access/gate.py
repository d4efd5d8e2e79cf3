"""The gRPC interceptor that lets callers in, before anything of their request is read."""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import grpc
import grpc.aio
import structlog
from grpc_status import rpc_status
from structlog.contextvars import bind_contextvars

from dojo.access import caller as callers
from dojo.access import roles
from dojo.access.caller import Caller
from dojo.access.denials import Denials
from dojo.access.roles import Role
from dojo.access.tokens import MAX_TOKEN_CHARACTERS, Callers, Entry
from dojo.errors import DojoError, NotAllowed, Unauthenticated
from dojo.service.statuses import status_of
from dojo.service.wrapped_handlers import Handler, WrappedHandlers

_log = structlog.get_logger()

_Context = grpc.aio.ServicerContext[Any, Any]

# A web tier names in this key for whom it calls, so that one who guesses ids does not use up what
# all others may guess.
PARTICIPANT_KEY = "cyber-dojo-participant"
MAX_PARTICIPANT_CHARACTERS = 64

# A machine that sends a call on says whose it is, as `role name`: an operator's token may do less.
ON_BEHALF_KEY = "cyber-dojo-on-behalf-of"

# Lines that the log gets of refused callers in a second. Without a bound, somebody without a token
# could fill the log, and push out what else is in it.
_LOGGED_PER_SECOND = 10

_SCHEME = "bearer "


class Gate(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Lets callers in, and says who they are: in the log, and to `dojo.access.caller`.

    Belongs to the event loop's thread.
    """

    def __init__(self, known: Callable[[], Callers] | None, denials: Denials | None = None) -> None:
        """`known` returns the callers that there are now; without it everybody is an operator."""
        self._known = known
        self.denials = denials or Denials()
        self._handlers = WrappedHandlers(self._wrapped)
        self._second = 0
        self._logged = self._unlogged = 0

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Wrap the handler, if there is one."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or roles.is_open(method):
            return handler
        return self._handlers.of(method, handler)

    def _wrapped(self, method: str, handler: Handler) -> Handler:
        codecs: dict[str, Any] = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        # The interceptor after this one receives single requests as streams too. A stream is read
        # when its handler asks for it, so nothing has been read or parsed when this refuses.
        if handler.stream_unary:
            behaviour = self._guarded(handler.stream_unary, method)
            return grpc.stream_unary_rpc_method_handler(behaviour, **codecs)
        if handler.stream_stream:
            behaviour = self._guarded(handler.stream_stream, method)
            return grpc.stream_stream_rpc_method_handler(behaviour, **codecs)
        raise NotImplementedError("a single request would be read before its caller is known")

    def _guarded(self, behaviour: Any, method: str) -> Any:
        if inspect.isasyncgenfunction(behaviour):  # reflection, which is not ours

            async def stream(requests: Any, context: _Context) -> Any:
                await self._let_in(method, context)
                async for response in behaviour(requests, context):
                    yield response

            return stream

        async def call(requests: Any, context: _Context) -> Any:
            await self._let_in(method, context)
            return await behaviour(requests, context)

        return call

    async def _let_in(self, method: str, context: _Context) -> None:
        """Say who calls; end the call if it may not be made."""
        address = callers.address_of(context.peer())
        try:
            found = self._caller(method, context, address)
        except (Unauthenticated, NotAllowed) as error:
            await self._refuse(method, context, address, error)
        else:
            callers.use(found)
            bind_contextvars(address=address, **({"caller": found.name} if found.name else {}))

    def _caller(self, method: str, context: _Context, address: str) -> Caller:
        """Return who calls. Raises Unauthenticated or NotAllowed."""
        if self._known is None:
            return Caller("", Role.OPERATOR, address)
        found: dict[str, Any] = dict(context.invocation_metadata() or ())
        entry = self._entry(found.get("authorization"), context, self._known())
        allowed = roles.roles_of(method)
        rpc = method.rpartition("/")[2]
        if entry.role not in allowed:
            raise NotAllowed(entry.name, entry.role.value, rpc, _values(allowed))
        participant = str(found.get(PARTICIPANT_KEY, ""))[:MAX_PARTICIPANT_CHARACTERS]
        if entry.role is not Role.OPERATOR or ON_BEHALF_KEY not in found:
            return Caller(entry.name, entry.role, address, participant)
        caller = _on_behalf(str(found[ON_BEHALF_KEY]), address, participant)
        if caller.role not in allowed:
            raise NotAllowed(caller.name, caller.role.value, rpc, _values(allowed))
        return caller

    def _entry(self, authorization: Any, context: _Context, known: Callers) -> Entry:
        """Return the line of the caller. A token that is no good is not made up for."""
        if authorization is None:
            name = _certificate_name(context)
            entry = known.with_certificate(name) if name else None
            if entry is None:
                raise Unauthenticated(
                    f"the client certificate of {name[:80]!a} stands for no caller"
                    if name
                    else "the call has no token: send it as `authorization: Bearer TOKEN`"
                )
        else:
            entry = _with_token(authorization, known)
            if entry is None:
                raise Unauthenticated("the token is not valid")
        if entry.is_expired():
            raise Unauthenticated(f"what {entry.name} is known by expired at {entry.expires}")
        return entry

    async def _refuse(self, method: str, context: _Context, address: str, error: DojoError) -> None:
        status = status_of(error)
        code = rpc_status.to_status(status).code
        self.denials.count(method, code)
        self._log_refusal(rpc=method.rpartition("/")[2], address=address, reason=str(error))
        await context.abort_with_status(  # type: ignore[attr-defined]  # missing in the stubs
            rpc_status.to_status(status)
        )

    def _log_refusal(self, **fields: str) -> None:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._logged = second, 0
        if self._logged >= _LOGGED_PER_SECOND:
            self._unlogged += 1
            return
        self._logged += 1
        _log.info("caller refused", **fields, unlogged_before=self._unlogged)
        self._unlogged = 0


def metadata_on_behalf(caller: Caller | None) -> list[tuple[str, str]]:
    """Return what a call has for metadata that is sent on for a caller."""
    if caller is None or not caller.name:
        return []
    found = [(ON_BEHALF_KEY, f"{caller.role.value} {caller.name}")]
    return found + [(PARTICIPANT_KEY, caller.participant)] * bool(caller.participant)


def _on_behalf(text: str, address: str, participant: str) -> Caller:
    """Return the caller for whom another machine calls. Raises Unauthenticated."""
    role, _, name = text.partition(" ")
    if role not in _values(Role):
        raise Unauthenticated(f"nobody has the role of {ON_BEHALF_KEY}: {text[:80]!a}")
    return Caller(name, Role(role), address, participant)


def _with_token(authorization: Any, known: Callers) -> Entry | None:
    text = authorization if isinstance(authorization, str) else ""
    if text[: len(_SCHEME)].lower() != _SCHEME:
        return None
    token = text[len(_SCHEME) :].strip()
    return known.with_token(token) if len(token) <= MAX_TOKEN_CHARACTERS else None


def _certificate_name(context: _Context) -> str:
    """Return the common name of the client certificate; "" without one."""
    (name, *others) = context.auth_context().get("x509_common_name", ()) or (b"",)
    return "" if others else name.decode("utf-8", "replace")


def _values(allowed: Iterable[Role]) -> list[str]:
    return sorted(role.value for role in allowed)
