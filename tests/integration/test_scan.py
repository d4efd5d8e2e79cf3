"""Somebody scans all ports of the pair, and it serves others meanwhile."""

import contextlib
import itertools
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from cyberdojo.runner.v1 import runner_pb2, runner_pb2_grpc
from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from dojo.access.roles import ROLES, Role
from support import scanner
from support.access import Files, bearer, make_files
from support.prometheus import scraped, value
from support.services import Service, code_of, files_in_use, wait_until
from support.storer.fixtures import defects

UNAUTHENTICATED, UNKNOWN = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNKNOWN
INTERNAL, EXHAUSTED = grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED
HALF_OPEN, FRAMES, SLOW = 10_000, 150, 100
BEGINS = [b"", b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"GET / HTTP/1.1\r\n"]
CALL = "/cyberdojo.{0}.v1.{1}Service/{2}"
LARGE = {"storer": CALL.format("storer", "Storer", "RecordTest")}
LARGE["runner"] = CALL.format("runner", "Runner", "Run")

Metadata = tuple[tuple[str, str | bytes], ...]

each_service = pytest.mark.parametrize("module", ["storer", "runner"])


@dataclass(frozen=True)
class Scanned:
    """A service with TLS, tokens and metrics."""

    service: Service
    files: Files
    metrics: str

    @contextlib.contextmanager
    def channel(self) -> Iterator[grpc.Channel]:
        """Give a connection of its own."""
        credentials = grpc.ssl_channel_credentials(self.files.ca.certificate)
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.secure_channel(self.service.address, credentials, options) as channel:
            yield channel

    def metadata(self, role: Role) -> Metadata:
        """Return what a caller of a role sends."""
        return (bearer(self.files.tokens[role]),)

    def counted(self, code: grpc.StatusCode | None = None) -> float:
        """Return how many calls of the RPC that takes most began, or ended with a status."""
        _, service, method = LARGE[self.service.module].split("/")
        labels = {"grpc_service": service, "grpc_method": method}
        if code is None:
            return value(scraped(self.service), "grpc_server_started_total", **labels)
        name = "grpc_server_handled_total"
        return value(scraped(self.service), name, **labels, grpc_code=code.name)

    def check_serves(self) -> None:
        """Check that a new caller is served, and Prometheus too."""
        with self.channel() as channel:
            call: Callable[[], object]
            if self.service.module == "storer":
                storer = storer_pb2_grpc.StorerServiceStub(channel)
                request = storer_pb2.CompleteKataIdRequest(partial_id="0123456")
                call = partial(
                    storer.CompleteKataId, request, metadata=self.metadata(Role.OPERATOR)
                )
            else:
                runner = runner_pb2_grpc.RunnerServiceStub(channel)
                images = runner_pb2.ListImagesRequest(page_size=1)
                call = partial(runner.ListImages, images, metadata=self.metadata(Role.OPERATOR))
            # On a busy machine a call can be taken for a slow one, and told to come again.
            while (code := code_of(call)) is EXHAUSTED:
                pass
            assert code is grpc.StatusCode.OK
        wait_until(self._tells_metrics)

    def _tells_metrics(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.metrics}/metrics", timeout=60) as answer:
                return b"grpc_server_handled_total" in answer.read()
        except OSError:  # closed as the oldest of too many
            return False


@pytest.fixture
def scanned(
    module: str, start_service: Callable[..., Service], tmp_path: Path
) -> Iterator[Scanned]:
    files = make_files(tmp_path)
    service = start_service(
        module,
        CYBER_DOJO_METRICS_LISTEN="127.0.0.1:0",
        CYBER_DOJO_TLS_CERTIFICATE=str(tmp_path / "server.pem"),
        CYBER_DOJO_TLS_KEY=str(tmp_path / "server.key"),
        CYBER_DOJO_CALLERS=str(files.callers),
    )
    told = service.wait_for_event(lambda event: event["event"] == "serving metrics")
    yield Scanned(service, files, told["listen"])
    service.stop()
    assert not defects(service)
    assert not [each for each in service.events() if each["level"] == "error"]


def reflected(channel: grpc.Channel, metadata: Any) -> set[str]:
    """Return the services that reflection names."""
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    (answer,) = stub.ServerReflectionInfo(iter([request]), metadata=metadata)
    return {each.name for each in answer.list_services_response.service}


@each_service
def test_who_lists_and_tries_all_rpcs_learns_nothing_and_meets_no_defect(
    scanned: Scanned, module: str
) -> None:
    with scanned.channel() as channel:
        nobody: Metadata = ()
        assert code_of(partial(reflected, channel, nobody)) is UNAUTHENTICATED
        reader = scanned.metadata(Role.READER)
        found = reflected(channel, reader)
        assert any(f".{module}." in each for each in found)
        paths = [path for path in ROLES if path[1:].split("/")[0] in found]
        for path, content in itertools.product(paths, (b"", b"\xff", b"\x0a\x05")):
            call = channel.stream_stream(path, None, None)
            for metadata in (nobody, (bearer("guessed"),), reader):
                code = code_of(lambda: list(call(iter([content]), metadata=metadata, timeout=60)))  # noqa: B023
                assert code not in {INTERNAL, UNKNOWN}, path
                assert metadata is reader or code is UNAUTHENTICATED, path
    scanned.check_serves()


@pytest.mark.timeout(600)
@each_service
def test_half_open_connections_frames_and_slow_streams_on_all_ports_keep_nobody_out(
    scanned: Scanned, module: str
) -> None:
    scanned.check_serves()
    address, ca = scanned.service.address, scanned.files.ca.certificate
    files = len(files_in_use(scanned.service.pid))
    ports = [scanner.plain(address), scanner.plain(scanned.metrics)]
    inside = scanner.with_tls(address, ca)
    with scanner.half_open(ports[0], itertools.islice(itertools.cycle(BEGINS), HALF_OPEN)):
        # Those that came first may have been closed: they have 20 seconds.
        assert len(files_in_use(scanned.service.pid)) > files + HALF_OPEN / 10
        scanned.check_serves()
        with ThreadPoolExecutor(len(ports) + 1) as threads:
            sending = [
                threads.submit(scanner.send_each, connect, map(scanner.frames, range(FRAMES)))
                for connect in (*ports, inside)
            ]
            while not all(each.done() for each in sending):
                scanned.check_serves()
            for each in sending:
                each.result()
    token = scanned.files.tokens[Role.WEB]
    with contextlib.ExitStack() as stack:
        for authorization in (f"Bearer {token}", "Bearer guessed"):
            begin = scanner.slow_request(LARGE[module], authorization)
            slow = scanner.trickling(inside, SLOW, begin, scanner.data_of_a_byte())
            stack.enter_context(slow)
        wait_until(lambda: scanned.counted(UNAUTHENTICATED) >= SLOW)
        wait_until(lambda: scanned.counted() >= 2 * SLOW)
        stack.enter_context(
            scanner.trickling(ports[1], SLOW, b"GET /metrics HTTP/1.1\r\nA: ", b"a")
        )
        for _ in range(10):
            scanned.check_serves()
    # All have left, or were closed, and nothing of them stays.
    wait_until(lambda: len(files_in_use(scanned.service.pid)) < files + 20)
    scanned.check_serves()
