"""Traces by OpenTelemetry: which steps a call took, across services.

A caller's trace comes as `traceparent`, a header of https://www.w3.org/TR/trace-context/. Its id is
in each line that the call logs. Steps are sent only by a service that was told where to: the
packages are imported then, and until then a step costs next to nothing.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Any, NamedTuple

import structlog

_log = structlog.get_logger()

TRACEPARENT = "traceparent"

# How long a service that stops waits for the receiver to take the last traces.
_STOP_SECONDS = 2.0

# The version that is known, or a later one that begins like it; neither id may be zero.
_VALID = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]{0,100})?\Z"
)

# What the call that a thread or task works for was sent, "" for none.
_RECEIVED: ContextVar[str] = ContextVar("traceparent", default="")


class _Tracing(NamedTuple):
    """What is needed of OpenTelemetry; its modules have no common type."""

    tracer: Any
    propagator: Any
    server_kind: Any


# Set once, before anything is served; any thread may read it.
_tracing: _Tracing | None = None


def configure(endpoint: str, service: str) -> Callable[[], None]:
    """Send traces to an OTLP receiver; return a function that sends the last of them, and stops.

    `endpoint` is http://host:port, or https:// for one with TLS. Raises ImportError if the packages
    are not there.
    """
    global _tracing  # noqa: PLW0603 - as a log is configured: once, for the process
    # Here, because only a service that sends traces has to have them.
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.trace import SpanKind  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
        TraceContextTextMapPropagator,
    )

    logger = logging.getLogger("opentelemetry")
    logger.addHandler(_IntoOurLog())
    logger.propagate = False
    provider = TracerProvider(
        resource=Resource.create({"service.name": service}), shutdown_on_exit=False
    )
    # As every channel of ours: no proxy. The stubs say that an option's value is a text.
    options: Any = (("grpc.enable_http_proxy", 0),)
    exporter = OTLPSpanExporter(endpoint, channel_options=options)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracing = _Tracing(
        provider.get_tracer("cyber-dojo"), TraceContextTextMapPropagator(), SpanKind.SERVER
    )

    def stop() -> None:
        global _tracing  # noqa: PLW0603 - as above
        _tracing = None
        # A receiver that does not answer must not hold up a service that stops.
        sending = threading.Thread(target=provider.shutdown, name="last-traces", daemon=True)
        sending.start()
        sending.join(_STOP_SECONDS)
        if sending.is_alive():
            _log.warning("traces not sent", reason="the receiver did not take the last of them")

    return stop


class _IntoOurLog(logging.Handler):
    """Logs what OpenTelemetry tells: it would write lines of its own into the middle of our log."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record: an attempt that is repeated for those who debug, what was given up for all.

        The message names the receiver, and nothing of what was traced.
        """
        is_lost = record.levelno >= logging.ERROR
        (_log.warning if is_lost else _log.debug)("traces not sent", reason=record.getMessage())


def received(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """Return the `traceparent` in the metadata of a call; "" if it has none, or no valid one."""
    for name, value in metadata or ():
        if name == TRACEPARENT and isinstance(value, str) and _VALID.match(value):
            return value
    return ""


def trace_id(traceparent: str) -> str:
    """Return the id of a trace, 32 hexadecimal digits."""
    return traceparent.split("-")[1]


def call(method: str, traceparent: str) -> AbstractContextManager[Any]:
    """Trace a call that is served, in the block, as a part of the caller's trace.

    What the block calls, also in other threads with this context, belongs to the call.
    """
    _RECEIVED.set(traceparent)
    if _tracing is None:
        return nullcontext()
    context = _tracing.propagator.extract({TRACEPARENT: traceparent} if traceparent else {})
    return _span(_tracing, method, context=context, kind=_tracing.server_kind)


def describe(span: Any, code: str, fields: Mapping[str, object]) -> None:
    """Note how a call ended: its status, and of the fields of its log lines, whose it was."""
    attributes = {"rpc.response.status_code": code}
    for name in ("kata", "avatar"):
        if value := fields.get(name):
            attributes[f"cyber_dojo.{name}"] = str(value)
    span.set_attributes(attributes)


def step(name: str) -> AbstractContextManager[Any]:
    """Trace a step of what this thread or task does for a call."""
    if _tracing is None:
        return nullcontext()
    return _span(_tracing, name)


def current() -> str:
    """Return the `traceparent` for what this thread or task asks of others; "" for none."""
    if _tracing is None:
        return _RECEIVED.get()
    carrier: dict[str, str] = {}
    _tracing.propagator.inject(carrier)
    return carrier.get(TRACEPARENT, "")


def metadata() -> tuple[tuple[str, str], ...]:
    """Return the metadata of a call to another service, which continues the trace."""
    return ((TRACEPARENT, found),) if (found := current()) else ()


def _span(tracing: _Tracing, name: str, **options: Any) -> AbstractContextManager[Any]:
    # Errors quote what participants wrote, which has no place in a trace; their status tells.
    found: AbstractContextManager[Any] = tracing.tracer.start_as_current_span(
        name, record_exception=False, set_status_on_exception=False, **options
    )
    return found
