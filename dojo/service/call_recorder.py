"""The outermost gRPC interceptor: counts and times each call, logs it, and begins its trace."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import aclosing
from typing import Any

import grpc
import grpc.aio
import structlog
from prometheus_client import Counter, Gauge, Histogram
from structlog.contextvars import bind_contextvars, get_contextvars

from dojo import traces
from dojo.metrics import BUCKETS, OTHER, REGISTRY
from dojo.service.wrapped_handlers import Handler, WrappedHandlers

_log = structlog.get_logger()

_Context = grpc.aio.ServicerContext[Any, Any]

# The names are those of https://github.com/grpc-ecosystem/go-grpc-middleware, which dashboards
# for gRPC servers know.
_LABELS = ("grpc_service", "grpc_method")
STARTED = Counter("grpc_server_started", "Calls that began, by method.", _LABELS, registry=REGISTRY)
HANDLED = Counter(
    "grpc_server_handled",
    "Calls that ended, by method and status.",
    (*_LABELS, "grpc_code"),
    registry=REGISTRY,
)
SECONDS = Histogram(
    "grpc_server_handling_seconds",
    "How long calls took, by method.",
    _LABELS,
    registry=REGISTRY,
    buckets=BUCKETS,
)
IN_PROGRESS = Gauge(
    "grpc_server_calls_in_progress", "Calls in progress, by method.", _LABELS, registry=REGISTRY
)
RECEIVED_BYTES = Counter(
    "grpc_server_received_bytes", "Bytes of requests, by method.", _LABELS, registry=REGISTRY
)
SENT_BYTES = Counter(
    "grpc_server_sent_bytes", "Bytes of responses, by method.", _LABELS, registry=REGISTRY
)

_OURS = "/cyberdojo."  # health checking and reflection belong to libraries
_KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")

# gRPC cancels a call at its deadline, a few milliseconds early.
_DEADLINE_SECONDS = 0.05


class _Method:
    """The metrics of one method, found once: finding them takes as long as counting."""

    def __init__(self, service: str, name: str) -> None:
        labels = service, name
        self.name = f"{service}/{name}".removeprefix("/")
        self.rpc = name
        self.started = STARTED.labels(*labels)
        self.seconds = SECONDS.labels(*labels)
        self.in_progress = IN_PROGRESS.labels(*labels)
        self.received_bytes = RECEIVED_BYTES.labels(*labels)
        self.sent_bytes = SENT_BYTES.labels(*labels)
        # All of them from the start: a counter that begins at 1 has not increased to Prometheus.
        self.handled = {code: HANDLED.labels(*labels, code.name) for code in grpc.StatusCode}


class CallRecorder(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Records each call: in metrics, in a trace, and with `logs_calls` in a line of the log.

    A call that another interceptor refuses is recorded too. Belongs to the event loop's thread.
    """

    def __init__(self, methods: Collection[str], *, logs_calls: bool) -> None:
        """`methods` are the full names (/package.Service/Method) that the server has."""
        self._methods = {each: _Method(*each[1:].split("/")) for each in methods}
        self._other = _Method(OTHER, OTHER)
        self._logs_calls = logs_calls
        self._handlers = WrappedHandlers(self._wrapped)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Wrap the handler, if there is one."""
        handler = await continuation(handler_call_details)
        if handler is None:
            self._other.started.inc()
            self._other.handled[grpc.StatusCode.UNIMPLEMENTED].inc()
            return handler
        name = handler_call_details.method
        return self._handlers.of(name, handler) if name.startswith(_OURS) else handler

    def _wrapped(self, name: str, handler: Handler) -> Handler:
        method = self._methods.get(name, self._other)
        kind = next(each for each in _KINDS if getattr(handler, each))
        make: Any = getattr(grpc, f"{kind}_rpc_method_handler")
        wrapped: Handler = make(
            self._recording(_without_yields(getattr(handler, kind)), method),
            request_deserializer=_counting_received(handler.request_deserializer, method),
            response_serializer=_counting_sent(handler.response_serializer, method),
        )
        return wrapped

    def _recording(self, respond: Any, method: _Method) -> Any:
        async def call(request: Any, context: _Context) -> Any:
            traceparent = traces.received(context.invocation_metadata())
            method.started.inc()
            method.in_progress.inc()
            begun = time.perf_counter()
            code = grpc.StatusCode.OK
            with traces.call(method.name, traceparent) as span:
                if traced := traces.current():
                    bind_contextvars(trace=traces.trace_id(traced))
                try:
                    return await respond(request, context)
                except BaseException as error:
                    code = _code(error, context)
                    raise
                finally:
                    seconds = time.perf_counter() - begun
                    method.in_progress.dec()
                    method.seconds.observe(seconds)
                    method.handled[code].inc()
                    if span is not None:
                        traces.describe(span, code.name, get_contextvars())
                    if self._logs_calls:
                        _log_call(method, code, seconds, context)

        return call


def _without_yields(behaviour: Any) -> Any:
    """Return what writes the responses that `behaviour` yields, if it yields any."""
    if not inspect.isasyncgenfunction(behaviour):
        return behaviour

    async def respond(request: Any, context: _Context) -> None:
        async with aclosing(behaviour(request, context)) as responses:
            async for response in responses:
                await context.write(response)

    return respond


def _code(error: BaseException, context: _Context) -> grpc.StatusCode:
    """Return the status of a call that ended with an error."""
    if isinstance(error, asyncio.CancelledError):
        left = context.time_remaining()
        is_late = left is not None and left < _DEADLINE_SECONDS
        return grpc.StatusCode.DEADLINE_EXCEEDED if is_late else grpc.StatusCode.CANCELLED
    found: Any = context.code()
    return found if isinstance(found, grpc.StatusCode) else grpc.StatusCode.UNKNOWN


def _log_call(method: _Method, code: grpc.StatusCode, seconds: float, context: _Context) -> None:
    """Write a call's line. Whose it was, and its kata, avatar and trace, are bound to the call."""
    fields: dict[str, Any] = {"rpc": method.rpc, "code": code.name}
    fields["milliseconds"] = round(1000 * seconds, 3)
    if "address" not in get_contextvars():
        fields["address"] = context.peer()
    _log.info("call", level="access", **fields)


def _counting_received(deserialize: Any, method: _Method) -> Callable[[bytes], Any]:
    def count(message: bytes) -> Any:
        method.received_bytes.inc(len(message))
        return message if deserialize is None else deserialize(message)

    return count


def _counting_sent(serialize: Any, method: _Method) -> Callable[[Any], bytes]:
    def count(response: Any) -> bytes:
        message: bytes = response if serialize is None else serialize(response)
        method.sent_bytes.inc(len(message))
        return message

    return count
