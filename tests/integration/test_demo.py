"""The demo, and the services as docker compose starts them."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import grpc
import pytest

from cyberdojo.startpoints.v1 import startpoints_pb2, startpoints_pb2_grpc
from dojo.engine.client import Engine
from dojo.engine.data_containers import DataContainers
from dojo.naming import Namespace
from support.paths import TOP
from support.services import Service, wait_until


def demo(storer: str, runner: str, namespace: Namespace, engine: Engine) -> str:
    """Run the demo, and assert that it succeeds; return its output."""
    command = [sys.executable, "scripts/demo.py", "--storer", storer, "--runner", runner]
    done = subprocess.run(
        [*command, "--namespace", namespace.name],
        cwd=TOP,
        env={**os.environ, "DOCKER_HOST": engine.url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_demo_shows_the_main_job_and_leaves_no_kata(
    storer_service: Service,
    runner_service: Service,
    namespace: Namespace,
    engine: Engine,
    data_containers: DataContainers,
) -> None:
    before = set(data_containers.kata_ids())
    said = demo(storer_service.address, runner_service.address, namespace, engine)
    for expected in (
        "● red    as delivered\n           compiled: hiker.c, hiker.tests.c\n",
        "the semicolon is back\n           compiled: hiker.c\n",
        "hiker.c: 1 added, 1 deleted",
        "git log: (HEAD -> main, tag: 3) 3 green",
        "digest correct",
        "the next test works, and nothing has to be compiled\n           compiled: nothing\n",
    ):
        assert expected in said
    assert "\x1b" not in said
    assert set(data_containers.kata_ids()) == before


@dataclass(frozen=True)
class Composed:
    """The services, started by compose in a project of their own."""

    environ: Mapping[str, str]

    def compose(self, *arguments: str) -> str:
        """Run compose; return its output."""
        return self._run("scripts/compose", *arguments)

    def up(self) -> str:
        """Start the services."""
        return self._run("scripts/up.sh")

    def container(self, service: str) -> str:
        """Return the id of a service's container."""
        return self.compose("ps", "--quiet", service).strip()

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=TOP, env=self.environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def composed(
    engine: Engine, namespace: Namespace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Composed]:
    """The services, started by compose on free ports."""
    pair = Composed(
        {
            **os.environ,
            "COMPOSE_PROJECT_NAME": namespace.name,
            "DOCKER_HOST": engine.url,
            "CYBER_DOJO_NAMESPACE": namespace.name,
            "CYBER_DOJO_STORER_PORT": "0",
            "CYBER_DOJO_RUNNER_PORT": "0",
            "CYBER_DOJO_KATAS_DIRECTORY": str(tmp_path_factory.mktemp("katas")),
            "CYBER_DOJO_ARCHIVE_DIRECTORY": str(tmp_path_factory.mktemp("archive")),
        }
    )
    try:
        pair.up()
        yield pair
    finally:
        pair.compose("down", "--volumes")


def test_the_pair_does_the_main_job_behind_compose(
    composed: Composed, namespace: Namespace, engine: Engine
) -> None:
    storer, runner = (
        composed.compose("port", service, port).strip()
        for service, port in (("storer", "4577"), ("runner", "4597"))
    )
    assert "the next test works" in demo(storer, runner, namespace, engine)


def test_the_storer_behind_compose_serves_start_points_that_it_cannot_write(
    composed: Composed, engine: Engine, connect: Callable[[str], grpc.Channel]
) -> None:
    channel = connect(composed.compose("port", "storer", "4577").strip())
    stub = startpoints_pb2_grpc.StartPointsServiceStub(channel)
    languages = stub.ListLanguages(startpoints_pb2.ListLanguagesRequest()).languages
    assert "C (gcc), assert" in [each.display_name for each in languages]
    exercises = stub.ListExercises(startpoints_pb2.ListExercisesRequest()).exercises
    assert "Fizz Buzz" in [each.display_name for each in exercises]
    mounts = engine.api.inspect_container(composed.container("storer"))["Mounts"]
    writable = {each["Destination"]: each["RW"] for each in mounts}
    for kind in ("languages", "exercises"):
        assert not writable[f"/usr/src/cyber-dojo/start_points/{kind}"]


@pytest.mark.parametrize("service", ["storer", "runner"])
def test_the_command_is_there_in_both_containers(composed: Composed, service: str) -> None:
    said = composed.compose("exec", "-T", service, "cyber-dojo", "verify")
    assert said.endswith(": all as it should be\n")


def test_the_pair_is_closed_to_other_machines_and_limited(
    composed: Composed, engine: Engine
) -> None:
    for service, port in (("storer", "4577/tcp"), ("runner", "4597/tcp")):
        container = composed.container(service)
        # On a busy machine a healthcheck can time out now and then.
        wait_until(partial(is_healthy, engine, container), seconds=120)
        found = engine.api.inspect_container(container)
        bindings = found["NetworkSettings"]["Ports"]
        assert [each["HostIp"] for each in bindings[port]] == ["127.0.0.1"]
        assert list(bindings) == [port]
        host = found["HostConfig"]
        assert host["RestartPolicy"]["Name"] == "unless-stopped"
        assert host["ReadonlyRootfs"]
        assert host["CapDrop"] == ["ALL"]
        assert host["Memory"] == 2 * 1024**3
        assert host["PidsLimit"] == 2048
        assert host["LogConfig"]["Config"]["max-size"] == "10m"


def is_healthy(engine: Engine, container: str) -> bool:
    health: str = engine.api.inspect_container(container)["State"]["Health"]["Status"]
    return health == "healthy"


def test_a_service_that_died_is_started_again(composed: Composed, engine: Engine) -> None:
    container = composed.container("storer")
    before = engine.api.inspect_container(container)["State"]
    os.kill(before["Pid"], 9)

    def is_back() -> bool:
        now = engine.api.inspect_container(container)["State"]
        return now["StartedAt"] != before["StartedAt"] and is_healthy(engine, container)

    wait_until(is_back, seconds=120)
