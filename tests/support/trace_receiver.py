"""A receiver of traces: what a collector of OpenTelemetry does, for the spans of a test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from support.services import WAIT_SECONDS


class Span(NamedTuple):
    """A step of a service's work; ids are hexadecimal."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, str]


class TraceReceiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps the spans that services export."""

    def __init__(self) -> None:
        self._spans: list[Span] = []
        self._changed = threading.Condition()

    def Export(self, request: Any, context: object) -> Any:
        """Receive spans."""
        found = [
            Span(
                _texts(of_resource.resource.attributes)["service.name"],
                span.name,
                span.trace_id.hex(),
                span.span_id.hex(),
                span.parent_span_id.hex(),
                _texts(span.attributes),
            )
            for of_resource in request.resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]
        with self._changed:
            self._spans += found
            self._changed.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()

    def wait_for(self, trace: str, names: set[str]) -> dict[str, Span]:
        """Wait until a trace has spans of these names; return all of its spans by their names."""

        def found() -> dict[str, Span]:
            return {each.name: each for each in self._spans if each.trace == trace}

        with self._changed:
            assert self._changed.wait_for(lambda: names <= set(found()), WAIT_SECONDS), found()
            return found()


@contextmanager
def trace_receiver() -> Iterator[tuple[TraceReceiver, str]]:
    """Give a receiver, and the URL where it receives."""
    receiver = TraceReceiver()
    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads)
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(receiver, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield receiver, f"http://127.0.0.1:{port}"
        server.stop(None).wait()


def _texts(attributes: Any) -> dict[str, str]:
    return {each.key: each.value.string_value for each in attributes}
