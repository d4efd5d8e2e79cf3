"""What the comments of the protos promise is what the code does."""

import asyncio
import json
import re
import threading
from collections.abc import Mapping
from typing import Any

import grpc
import grpc.aio
import pytest

from cyberdojo.machines.v1 import machines_pb2
from cyberdojo.runner.v1 import runner_pb2
from cyberdojo.startpoints.v1 import startpoints_pb2
from cyberdojo.status.v1 import status_pb2
from cyberdojo.storer.v1 import storer_pb2
from dojo import kata_ids, limits, patterns, ruby_lambdas, run_output, run_seconds, visible_files
from runner.engine import images
from runner.sandbox import changes
from runner.settings import RunnerSettings
from storer.api import converters, servicer, start_points_servicer, streaming
from storer.kata import light, manifest
from storer.katas import listing
from storer.start_points import checks
from support.paths import TOP

KIB, MIB = 1024, 1024**2
PROTOS = sorted((TOP / "protos/cyberdojo").rglob("*.proto"))
SERVICE_CONFIG = (TOP / "protos/service_config.json").read_text()
RPCS = {
    method.full_name.rpartition(".")[2]: method
    for module in (storer_pb2, startpoints_pb2, machines_pb2, status_pb2, runner_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}

_FIELD = re.compile(r"(?:repeated |optional )?(?:map<[^>]+>|[\w.]+) (\w+) = \d+;")
_SCOPE = re.compile(r"(message|enum|oneof|service) (\w+) \{(\})?")


def comments() -> dict[str, str]:
    """Return the comments of all messages, fields (`Message.field`), services and RPCs."""
    found = {}
    for path in PROTOS:
        scopes: list[str] = []
        lines: list[str] = []
        for line in map(str.strip, path.read_text().splitlines()):
            if line.startswith("//"):
                lines.append(line.removeprefix("//").strip())
                continue
            name = ""
            if scope := _SCOPE.match(line):
                name = scope[2]
                if not scope[3]:
                    scopes.append("" if scope[1] == "oneof" else scope[2])
            elif rpc := re.match(r"rpc (\w+)\(", line):
                name = rpc[1]
            elif field := _FIELD.match(line):
                name = ".".join([*[each for each in scopes if each][-1:], field[1]])
            elif line == "}":
                scopes.pop()
            if name:
                found[name] = " ".join(lines)
            lines = []
    return found


COMMENTS = comments()


def count(number: int) -> str:
    return f"{number:,}"


def size(number: int) -> str:
    return f"{number // MIB} MiB" if number >= MIB else f"{number // KIB} KiB"


_FILES = (
    f"At most {count(visible_files.MAX_FILES)} files of at most "
    f"{size(visible_files.MAX_FILE_BYTES)}, and {size(visible_files.MAX_TOTAL_BYTES)} together; "
    f"a name is a relative path of at most {visible_files.MAX_NAME_BYTES} bytes."
)
_SECONDS = (
    f"{run_seconds.MIN_SECONDS} to {run_seconds.MAX_SECONDS} seconds. "
    f"Absent: {run_seconds.DEFAULT_SECONDS}"
)
_OUTPUT = f"at most {size(run_output.MAX_BYTES)}"
_PAGES = "1 to {most}. Absent: {default}."
_NAMES = _PAGES.format(
    most=count(start_points_servicer.MAX_PAGE_NAMES),
    default=count(start_points_servicer.MAX_PAGE_NAMES),
)
_REQUEST_ID = f"at most {converters.MAX_REQUEST_ID} characters"

LIMITS: Mapping[str, str] = {
    "StorerService": f"A message has at most {size(limits.MESSAGE_BYTES)}.",
    "RunnerService": f"A message has at most {size(limits.MESSAGE_BYTES)}.",
    "Manifest.max_seconds": _SECONDS,
    "Manifest.tab_size": f"1 to {manifest.LARGEST_TAB_SIZE}. Absent: {manifest.DEFAULT_TAB_SIZE}.",
    "Manifest.files": _FILES,
    "Manifest.other": f"at most {size(limits.MAX_MANIFEST_BYTES)}, as JSON",
    "CreateKataRequest.request_id": (
        f"{converters.LEAST_CREATING_REQUEST_ID} to {converters.MAX_REQUEST_ID} characters"
    ),
    "StartAvatarRequest.request_id": _REQUEST_ID,
    "RecordTestRequest.request_id": _REQUEST_ID,
    "RecordEditRequest.request_id": _REQUEST_ID,
    "RecordEditRequest.files": _FILES,
    "RestoreKataHeader.request_id": _REQUEST_ID,
    "CompleteKataIdRequest.partial_id": f"{kata_ids.SHORTEST_PARTIAL} to {kata_ids.LENGTH} char",
    "CompleteKataIdResponse.kata_ids": f"At most {listing.MAX_COMPLETIONS}.",
    "ListKatasRequest.page_size": _PAGES.format(
        most=count(servicer.MAX_PAGE_KATAS), default=count(servicer.DEFAULT_PAGE_KATAS)
    ),
    "ListLightsRequest.page_size": _PAGES.format(
        most=count(servicer.MAX_PAGE_LIGHTS), default=count(servicer.DEFAULT_PAGE_LIGHTS)
    ),
    "GetOutputsRequest.lights": f"1 to {limits.MAX_OUTPUTS}.",
    "WatchKatasRequest.katas": f"1 to {limits.MAX_WATCHED_KATAS}, each once",
    "ListLightsResponse": f"a page of at most {size(limits.PAGE_BYTES)}",
    "ListLanguagesRequest.page_size": _NAMES,
    "ListExercisesRequest.page_size": _NAMES,
    "ListCustomStartPointsRequest.page_size": _NAMES,
    "CheckStartPointRequest.files": _FILES,
    "CheckStartPointResponse.problems": f"At most {checks.MAX_TOLD},",
    "ListImagesRequest.page_size": _PAGES.format(
        most=count(images.MAX_PAGE_SIZE), default=count(images.MAX_PAGE_SIZE)
    ),
    "RecordTestRequest.files": _FILES,
    "RecordTestRequest.stdout": _OUTPUT,
    "RecordTestRequest.stderr": _OUTPUT,
    "RecordTestRequest.status": f"0 to {light.MAX_STATUS}",
    "RecordTestRequest.duration": f"at most {count(light.MAX_SECONDS)} seconds",
    "RecordTestRequest.reason": f"at most {count(converters.MAX_REASON)} characters",
    "RestoreKataRequest.data": f"at most {size(streaming.MAX_DATA_BYTES)}",
    "RestoreKatasRequest.data": f"at most {size(streaming.MAX_DATA_BYTES)}",
    "RunRequest.files": _FILES,
    "RunRequest.max_seconds": _SECONDS,
    "RunResponse.changed_files": (
        f"At most {changes.MAX_FILES} files of at most {size(changes.MAX_FILE_BYTES)}, "
        f"and {size(changes.MAX_TOTAL_BYTES)} together"
    ),
    "RunResponse.stdout": f"at most {size(RunnerSettings().max_output_bytes)} of it, unless the",
    "ColourPatterns.patterns": f"At most {patterns.MAX_PATTERNS}",
    "ColourPattern.pattern": f"at most {count(patterns.MAX_PATTERN_BYTES)} bytes",
    "RubyLambda.source": f"at most {size(ruby_lambdas.MAX_SOURCE_BYTES)}",
}


@pytest.mark.parametrize("name", LIMITS)
def test_a_comment_has_the_limit_that_the_code_enforces(name: str) -> None:
    assert LIMITS[name] in COMMENTS[name]


def test_every_field_with_files_or_a_page_size_or_a_request_id_tells_its_limit() -> None:
    limited = ("page_size", "request_id", "max_seconds")
    names = {name for name in COMMENTS if name.partition(".")[2] in limited}
    assert names - {"ForkKataRequest.request_id"} <= set(LIMITS)
    assert "CreateKataRequest" in COMMENTS["ForkKataRequest.request_id"]


def advice(rpc: str) -> tuple[str, str]:
    """Return the deadline and the advice on retries in an RPC's comment."""
    found = re.search(r"Deadline: (none|\d+ s)\. Retry: ([^.]+)\. Cost: .+\.$", COMMENTS[rpc])
    assert found is not None, f"{rpc} does not say its deadline, its retries and its cost"
    return found[1], found[2]


def methods() -> dict[str, dict[str, Any]]:
    """Return what the service config has for each RPC."""
    found: dict[str, dict[str, Any]] = {}
    for config in json.loads(SERVICE_CONFIG)["methodConfig"]:
        for name in config["name"]:
            method = RPCS[name["method"]]
            assert method.containing_service.full_name == name["service"]
            assert name["method"] not in found
            found[name["method"]] = config
    return found


def test_the_service_config_names_every_rpc_once() -> None:
    assert set(methods()) == set(RPCS)


@pytest.mark.parametrize("rpc", RPCS)
def test_the_service_config_has_the_deadline_and_the_retries_of_the_comment(rpc: str) -> None:
    deadline, retry = advice(rpc)
    config = methods()[rpc]
    assert config.get("timeout", "none") == deadline.replace(" ", "")
    assert ("retryPolicy" in config) == (retry == "yes")


@pytest.mark.parametrize("rpc", RPCS)
def test_what_takes_a_request_id_is_retried_with_it_and_by_nobody_without(rpc: str) -> None:
    request = RPCS[rpc].input_type
    header = request.fields_by_name.get("header")
    messages = [request, header.message_type if header is not None else None]
    has_id = any("request_id" in each.fields_by_name for each in messages if each is not None)
    assert has_id == (advice(rpc)[1] == "with a request_id")


class Flaky:
    """A server that is unavailable at first, and then answers every RPC with nothing."""

    def __init__(self, failures: int) -> None:
        self.calls = 0
        self._failures = failures
        self._listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._listening.wait(60)

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        server = grpc.aio.server()
        for method in RPCS.values():
            handler = grpc.unary_unary_rpc_method_handler(self._answer)
            service = method.containing_service.full_name
            server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(service, {method.name: handler}),)
            )
        self.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        self._listening.set()
        await self._stopping.wait()
        await server.stop(0)

    async def _answer(self, _: bytes, context: Any) -> bytes:
        self.calls += 1
        if self.calls <= self._failures:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        return b""

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()


@pytest.mark.parametrize(("rpc", "calls"), [("GetKata", 3), ("CreateKata", 1)])
def test_a_client_of_grpc_takes_the_service_config(rpc: str, calls: int) -> None:
    server = Flaky(failures=2)
    try:
        options = [("grpc.service_config", SERVICE_CONFIG)]
        with grpc.insecure_channel(server.address, options) as channel:
            path = f"/{RPCS[rpc].containing_service.full_name}/{rpc}"
            call = channel.unary_unary(path, bytes, bytes).future(b"")
            assert (call.exception() is None) == (calls > 1)
            assert server.calls == calls
    finally:
        server.close()
