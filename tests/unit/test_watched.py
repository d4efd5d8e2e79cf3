"""The fuzzers' watcher fails for each harm that a service can do."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from cyberdojo.storer.v1 import storer_pb2
from support.fuzz import watched
from support.fuzz.watched import Watched, World
from support.services import Service

SERVICE = storer_pb2.DESCRIPTOR.services_by_name["StorerService"]
GET_KATA = SERVICE.methods_by_name["GetKata"]
REQUEST = [storer_pb2.GetKataRequest(kata_id="F0220000A1").SerializeToString()]

CODES = grpc.StatusCode

# A process that does what it is told, line by line.
OBEDIENT = """
import sys, threading
def start(work):
    threading.Thread(target=work, daemon=True).start()
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""


class Misbehaving:
    """A process in the place of a service, which does harm on demand."""

    module = "storer"

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", OBEDIENT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        self.logged: list[dict[str, Any]] = []
        self.do("pass")

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process.poll() is None

    def events(self) -> list[dict[str, Any]]:
        """Return the events logged so far."""
        return list(self.logged)

    def do(self, statement: str) -> None:
        """Execute a statement in the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(statement + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def service() -> Iterator[Misbehaving]:
    """A process under watch."""
    found = Misbehaving()
    yield found
    found.end()


@pytest.fixture
def behaviour() -> dict[str, Callable[[grpc.ServicerContext], None]]:
    """What the server does for GetKata, before it answers."""
    return {}


@pytest.fixture
def watch(
    service: Misbehaving,
    behaviour: dict[str, Callable[[grpc.ServicerContext], None]],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Watched]:
    """The watcher, with a server whose only RPC is GetKata, and with short times."""
    monkeypatch.setattr(watched, "CALL_SECONDS", 1)
    monkeypatch.setattr(watched, "REST_SECONDS", 2)

    def get_kata(_: bytes, context: grpc.ServicerContext) -> bytes:
        behaviour.get("GetKata", lambda _: None)(context)
        return storer_pb2.GetKataResponse().SerializeToString()

    handler = grpc.unary_unary_rpc_method_handler(get_kata)
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(SERVICE.full_name, {"GetKata": handler})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Watched(cast(Service, service), channel)
    server.stop(None).wait()


def test_a_service_that_does_no_harm_passes(watch: Watched) -> None:
    code, answers = watch.call(GET_KATA, REQUEST)
    assert (code, answers) == (CODES.OK, [storer_pb2.GetKataResponse()])
    watch.check()
    watch.check_at_rest()


@pytest.mark.parametrize("code", [CODES.INTERNAL, CODES.UNKNOWN, CODES.UNIMPLEMENTED])
def test_a_status_that_nobody_promised_fails(
    watch: Watched,
    behaviour: dict[str, Callable[[grpc.ServicerContext], None]],
    code: grpc.StatusCode,
) -> None:
    behaviour["GetKata"] = lambda context: context.abort(code, "harm")
    with pytest.raises(AssertionError, match=f"GetKata: {code.name}: harm"):
        watch.call(GET_KATA, REQUEST)


def test_a_call_that_hangs_fails(
    watch: Watched, behaviour: dict[str, Callable[[grpc.ServicerContext], None]]
) -> None:
    behaviour["GetKata"] = lambda _: time.sleep(3)
    with pytest.raises(AssertionError, match="did not answer within 1 s"):
        watch.call(GET_KATA, REQUEST)


def test_a_call_for_a_kata_does_not_wait_for_ever(
    watch: Watched, behaviour: dict[str, Callable[[grpc.ServicerContext], None]]
) -> None:
    behaviour["GetKata"] = lambda _: time.sleep(3)
    world = World(watch, watch, Path)
    with pytest.raises(grpc.RpcError) as caught:
        world.katas.get("F0220000A1")
    assert cast(Any, caught.value).code() is CODES.DEADLINE_EXCEEDED


def test_a_service_that_ended_fails(watch: Watched, service: Misbehaving) -> None:
    service.end()
    with pytest.raises(AssertionError, match="has ended"):
        watch.check()


def test_a_defect_fails_once(watch: Watched, service: Misbehaving) -> None:
    service.logged.append({"event": "defect", "exception": "the traceback"})
    with pytest.raises(AssertionError, match="the traceback"):
        watch.check()
    watch.check()


def test_memory_beyond_the_bound_fails_although_it_was_given_back(
    watch: Watched, service: Misbehaving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "MAX_KIBIBYTES", 100 * 1024)
    watch.check()
    service.do("bytearray(b'x') * (150 * 1024**2)")
    with pytest.raises(AssertionError, match="MiB of memory"):
        watch.check()
    watch.check()


@pytest.mark.parametrize(
    "harm",
    [
        "held = [open('/dev/null') for _ in range(200)]",
        "for _ in range(300): start(threading.Event().wait)",
        "start(lambda: [0 for _ in iter(int, 1)])",
    ],
    ids=["descriptors", "threads", "work"],
)
def test_what_stays_fails(watch: Watched, service: Misbehaving, harm: str) -> None:
    service.do(harm)
    with pytest.raises(AssertionError):
        watch.check_at_rest()
