"""A service that answers as a case says, for the tests of the clients.

A real service can't be made to lose an answer, or to be full, at the very call that a test is
about. This one refuses a call that the case does not name.
"""

import base64
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from cyberdojo.runner.v1 import runner_pb2
from cyberdojo.startpoints.v1 import startpoints_pb2
from cyberdojo.storer.v1 import storer_pb2

SERVICES = {
    "storer": storer_pb2.DESCRIPTOR.services_by_name["StorerService"],
    "runner": runner_pb2.DESCRIPTOR.services_by_name["RunnerService"],
    "start_points": startpoints_pb2.DESCRIPTOR.services_by_name["StartPointsService"],
}
_DETAILS = "grpc-status-details-bin"


class Scripted(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Answers each RPC with the next of its replies, and remembers what it was asked.

    `script` is RPC -> replies. A reply has `answer`, a message as JSON, or `parts`, several of a
    stream; then, if it fails, `error`.
    """

    def __init__(self, script: dict[str, list[dict[str, Any]]]) -> None:
        self._script = {rpc: list(replies) for rpc, replies in script.items()}
        self._lock = threading.Lock()
        self.asked: list[dict[str, Any]] = []
        self.metadata: list[dict[str, Any]] = []

    @property
    def left(self) -> dict[str, int]:
        """How many replies of which RPC nobody asked for."""
        return {rpc: len(replies) for rpc, replies in self._script.items() if replies}

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of an RPC."""
        _, service, rpc = details.method.split("/")
        method = descriptor_pool.Default().FindServiceByName(service).methods_by_name[rpc]
        request = message_factory.GetMessageClass(method.input_type)
        answer = message_factory.GetMessageClass(method.output_type)

        def reply(asked: Any, context: Any) -> Iterator[Any]:
            with self._lock:
                told = {"rpc": rpc, "request": json_format.MessageToDict(asked)}
                self.asked.append(told)
                self.metadata.append(dict(context.invocation_metadata()))
                replies = self._script.get(rpc)
                if not replies:
                    context.abort(grpc.StatusCode.INTERNAL, f"nobody told of this call: {told}")
                    return
                found = replies.pop(0)
            for part in found.get("parts", [found["answer"]] if "answer" in found else []):
                yield json_format.ParseDict(_grown(part), answer())
            if "error" in found:
                _fail(context, **found["error"])

        def one(asked: Any, context: Any) -> Any:
            return next(reply(asked, context))

        kind: Callable[..., Any] = grpc.unary_unary_rpc_method_handler
        handle: Callable[..., Any] = one
        if method.server_streaming:
            kind, handle = grpc.unary_stream_rpc_method_handler, reply
        return kind(handle, request.FromString, answer.SerializeToString)


def _grown(part: dict[str, Any]) -> dict[str, Any]:
    """Return a message with each `_zeros` in it replaced by that many bytes."""
    return {key: _value(value) if isinstance(value, dict) else value for key, value in part.items()}


def _value(value: dict[str, Any]) -> dict[str, Any] | str:
    if "_zeros" in value:
        return base64.b64encode(bytes(value["_zeros"])).decode()
    return _grown(value)


def _fail(
    context: Any,
    *,
    code: str,
    message: str = "",
    reason: str = "",
    facts: dict[str, str] | None = None,
    fields: dict[str, str] | None = None,
    retry_after: float | None = None,
    domain: str = "cyber-dojo",
) -> None:
    status = status_pb2.Status(code=grpc.StatusCode[code].value[0], message=message)
    if reason:
        info = error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=facts)
        status.details.add().Pack(info)
    if fields:
        bad = error_details_pb2.BadRequest()
        for field, description in fields.items():
            bad.field_violations.add(field=field, description=description)
        status.details.add().Pack(bad)
    if retry_after is not None:
        delay = Duration()
        delay.FromNanoseconds(round(retry_after * 1e9))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    if status.details:
        context.set_trailing_metadata(((_DETAILS, status.SerializeToString()),))
    context.abort(grpc.StatusCode[code], message)


@contextmanager
def serving(
    script: dict[str, list[dict[str, Any]]], credentials: grpc.ServerCredentials | None = None
) -> Iterator[tuple[Scripted, str]]:
    """Yield a service and its address."""
    scripted = Scripted(script)
    server = grpc.server(ThreadPoolExecutor(4), handlers=[scripted])
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield scripted, f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
