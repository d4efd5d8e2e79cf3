"""The demo, and the services as docker compose starts them."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import docker.errors
import grpc
import pytest
import yaml

from cyberdojo.startpoints.v1 import startpoints_pb2, startpoints_pb2_grpc
from dojo.engine.client import Engine
from dojo.engine.data_containers import DataContainers
from dojo.naming import Namespace
from support.paths import TOP
from support.services import Service, free_ports, wait_until


def demo(storer: str, runner: str, namespace: Namespace, engine: Engine, **environ: str) -> str:
    """Run the demo, and assert that it succeeds; return its output."""
    command = [sys.executable, "scripts/demo.py", "--storer", storer, "--runner", runner]
    done = subprocess.run(
        [*command, "--namespace", namespace.name],
        cwd=TOP,
        env={**os.environ, "DOCKER_HOST": engine.url, **environ},
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

    @property
    def storer(self) -> str:
        """The storer's address."""
        return f"127.0.0.1:{self.environ['CYBER_DOJO_STORER_PORT']}"

    @property
    def runner(self) -> str:
        """The runner's address."""
        return f"127.0.0.1:{self.environ['CYBER_DOJO_RUNNER_PORT']}"

    @property
    def project(self) -> str:
        """The name of compose's project."""
        return self.environ["COMPOSE_PROJECT_NAME"]

    def compose(self, *arguments: str) -> str:
        """Run compose; return its output."""
        return self._run("scripts/compose", *arguments)

    def up(self) -> str:
        """Start the services."""
        return self._run("scripts/up.sh")

    def container(self, service: str) -> str:
        """Return the id of a service's container."""
        return self.compose("ps", "--quiet", service).strip()

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command, whether it succeeds or fails."""
        return subprocess.run(
            command, cwd=TOP, env=self.environ, capture_output=True, text=True, check=False
        )

    def _run(self, *command: str) -> str:
        done = self.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def composed(
    engine: Engine, namespace: Namespace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Composed]:
    """The services, started by compose on free ports."""
    storer_port, runner_port, web_port = free_ports(3)
    pair = Composed(
        {
            **os.environ,
            "COMPOSE_PROJECT_NAME": namespace.name,
            "DOCKER_HOST": engine.url,
            "CYBER_DOJO_NAMESPACE": namespace.name,
            "CYBER_DOJO_TAG": "latest",
            "CYBER_DOJO_STORER_PORT": storer_port,
            "CYBER_DOJO_RUNNER_PORT": runner_port,
            "CYBER_DOJO_KATAS_DIRECTORY": str(tmp_path_factory.mktemp("katas")),
            "CYBER_DOJO_ARCHIVE_DIRECTORY": str(tmp_path_factory.mktemp("archive")),
            "CYBER_DOJO_LOG_DIRECTORY": str(tmp_path_factory.mktemp("log")),
            "CYBER_DOJO_ACCESS_DIRECTORY": str(tmp_path_factory.mktemp("access")),
            "CYBER_DOJO_WEB_PORT": web_port,
            "CYBER_DOJO_WEB_DIRECTORY": str(tmp_path_factory.mktemp("web")),
        }
    )
    try:
        pair.up()
        yield pair
    finally:
        pair.compose("down", "--volumes")
        for name in ("storer", "runner", "web", "languages", "exercises", "custom", "ruby_lambdas"):
            for tag in ("running", "previous"):
                with contextlib.suppress(docker.errors.ImageNotFound):
                    engine.api.remove_image(f"cyber-dojo/{name}:{tag}-{namespace.name}")


def test_the_pair_does_the_main_job_behind_compose(
    composed: Composed, namespace: Namespace, engine: Engine
) -> None:
    said = demo(composed.storer, composed.runner, namespace, engine)
    assert "the next test works" in said


def test_the_storer_behind_compose_serves_start_points_that_it_cannot_write(
    composed: Composed, engine: Engine, connect: Callable[[str], grpc.Channel]
) -> None:
    channel = connect(composed.storer)
    stub = startpoints_pb2_grpc.StartPointsServiceStub(channel)
    languages = stub.ListLanguages(startpoints_pb2.ListLanguagesRequest()).languages
    assert "C (gcc), assert" in [each.display_name for each in languages]
    exercises = stub.ListExercises(startpoints_pb2.ListExercisesRequest()).exercises
    assert "Fizz Buzz" in [each.display_name for each in exercises]
    mounts = engine.api.inspect_container(composed.container("storer"))["Mounts"]
    writable = {each["Destination"]: each["RW"] for each in mounts}
    asked = startpoints_pb2.ListCustomStartPointsRequest()
    custom = stub.ListCustomStartPoints(asked).custom_start_points
    assert "Ring buffer, finding defects, in C" in [each.display_name for each in custom]
    for kind in ("languages", "exercises", "custom"):
        assert not writable[f"/usr/src/cyber-dojo/start_points/{kind}"]


@pytest.mark.parametrize("service", ["storer", "runner"])
def test_the_command_is_there_in_both_containers(composed: Composed, service: str) -> None:
    said = composed.compose("exec", "-T", service, "cyber-dojo", "verify")
    assert said.endswith(": all as it should be\n")


def test_the_pair_is_limited(composed: Composed, engine: Engine) -> None:
    for service in ("storer", "runner"):
        container = composed.container(service)
        # On a busy machine a healthcheck can time out now and then.
        wait_until(partial(is_healthy, engine, container), seconds=120)
        host = engine.api.inspect_container(container)["HostConfig"]
        assert host["RestartPolicy"]["Name"] == "unless-stopped"
        assert host["ReadonlyRootfs"]
        assert host["CapDrop"] == ["ALL"]
        assert host["Memory"] == 2 * 1024**3
        assert host["PidsLimit"] == 2048
        assert host["LogConfig"]["Config"]["max-size"] == "10m"


def test_the_pair_has_no_address_that_another_machine_could_route_to(
    composed: Composed, engine: Engine
) -> None:
    for service in ("storer", "runner"):
        networks = engine.api.inspect_container(composed.container(service))["NetworkSettings"]
        addresses = [each["IPAddress"] for each in networks["Networks"].values()]
        assert addresses == [""]
        assert not networks["Ports"]


def test_only_the_machine_itself_reaches_the_pair(composed: Composed) -> None:
    machine = checking("host", "local_addresses.py").split()
    ports = [each.rpartition(":")[2] for each in (composed.storer, composed.runner)]
    answering = checking("host", "answering.py", " ".join(ports), "127.0.0.1")
    assert answering == "".join(f"127.0.0.1 port {port}\n" for port in ports)
    assert not checking("bridge", "answering.py", " ".join(ports), *machine)


def test_starting_the_pair_fails_if_other_machines_reach_it(
    composed: Composed, tmp_path: Path
) -> None:
    everywhere = tmp_path / "everywhere.yml"
    everywhere.write_text(
        yaml.safe_dump(
            {
                "version": "2.4",
                "services": {
                    "storer": {
                        "environment": {
                            "CYBER_DOJO_STORER_LISTEN": composed.storer.replace(
                                "127.0.0.1", "0.0.0.0"
                            ),
                            "CYBER_DOJO_UNPROTECTED": "allow",
                        }
                    }
                },
            }
        )
    )
    open_pair = Composed(
        {**composed.environ, "COMPOSE_FILE": f"{TOP}/docker-compose.yml:{everywhere}"}
    )
    try:
        done = open_pair.run("scripts/up.sh")
        assert done.returncode == 1
        assert "other machines can reach the services at " in done.stderr
        assert f" port {composed.environ['CYBER_DOJO_STORER_PORT']}" in done.stderr
        assert "make down" in done.stderr
    finally:
        composed.up()


def test_starting_the_pair_again_leaves_no_volume_behind(
    composed: Composed, engine: Engine
) -> None:
    def anonymous() -> set[str]:
        mounts = engine.api.inspect_container(composed.container("storer"))["Mounts"]
        return {each["Name"] for each in mounts if each["Type"] == "volume"}

    before = anonymous()
    composed.up()
    assert len(anonymous()) == len(before) == 3
    left = {each["Name"] for each in engine.api.volumes()["Volumes"]} & (before - anonymous())
    assert not left


def test_the_logs_stay_when_the_containers_are_replaced(composed: Composed) -> None:
    folder = Path(composed.environ["CYBER_DOJO_LOG_DIRECTORY"])
    files = [folder / "storer.log", folder / "runner.log"]
    before = {file: file.read_text() for file in files}
    container = composed.container("storer")
    composed.compose("rm", "--force", "--stop", "storer", "runner")
    composed.up()
    assert composed.container("storer") != container
    for file in files:
        now = file.read_text()
        assert now.startswith(before[file])
        assert '"event": "stopped"' in now.removeprefix(before[file])
        assert '"event": "serving"' in now.removeprefix(before[file])


def checking(network: str, script: str, *arguments: str) -> str:
    """Return what one of the scripts prints in a container with that network."""
    image = "cyber-dojo/storer"
    options = ["--rm", "--interactive", "--network", network, "--entrypoint", "python3", image, "-"]
    done = subprocess.run(
        ["docker", "run", *options, *arguments],
        input=(TOP / "scripts" / script).read_bytes(),
        stdout=subprocess.PIPE,
        check=True,
    )
    return done.stdout.decode()


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


@pytest.fixture
def next_tag(namespace: Namespace, engine: Engine) -> Iterator[str]:
    """The tag of images of the services that differ from those of `make images` in a label."""
    tag = f"next-{namespace.name}"
    for service in ("storer", "runner", "web"):
        image = f"cyber-dojo/{service}"
        text = f"FROM {image}:latest\nLABEL next=1\n".encode()
        build = ["docker", "build", "--quiet", "--tag", f"{image}:{tag}", "-"]
        subprocess.run(build, input=text, check=True, capture_output=True)
    yield tag
    for service in ("storer", "runner", "web"):
        engine.api.remove_image(f"cyber-dojo/{service}:{tag}", force=True)


def test_another_version_replaces_the_pair_when_it_is_ready_and_can_be_taken_back(
    composed: Composed, engine: Engine, next_tag: str, connect: Callable[[str], grpc.Channel]
) -> None:
    start_points = {
        f"CYBER_DOJO_{kind.upper()}_IMAGE": f"cyber-dojo/{kind}:latest"
        for kind in ("languages", "exercises", "custom")
    }
    ruby = {"CYBER_DOJO_RUNNER_RUBY_IMAGE": "cyber-dojo/ruby_lambdas:latest"}
    newer = {**composed.environ, **start_points, **ruby, "CYBER_DOJO_TAG": next_tag}

    def images() -> list[str]:
        inspect = engine.api.inspect_container
        return [inspect(composed.container(each))["Image"] for each in ("storer", "runner")]

    def ids(tag: str) -> list[str]:
        inspect = engine.api.inspect_image
        return [inspect(f"cyber-dojo/{each}:{tag}")["Id"] for each in ("storer", "runner")]

    before = [composed.container(each) for each in ("storer", "runner")]
    refused = Composed({**newer, "CYBER_DOJO_LOG_LEVEL": "loud"}).run("scripts/up.sh")
    assert refused.returncode == 1
    assert "CYBER_DOJO_LOG_LEVEL='loud' is none of " in refused.stderr
    assert "the former one serves on: nothing was changed" in refused.stderr
    assert [composed.container(each) for each in ("storer", "runner")] == before

    stub = startpoints_pb2_grpc.StartPointsServiceStub(connect(composed.storer))
    assert ids("latest") == images()
    Composed(newer).up()
    assert ids(next_tag) == images()
    assert stub.ListLanguages(startpoints_pb2.ListLanguagesRequest(), wait_for_ready=True).languages
    back = Composed({**composed.environ, "CYBER_DOJO_TAG": ""}).run("scripts/rollback.sh")
    assert back.returncode == 0, back.stderr
    assert ids("latest") == images()
    assert stub.ListLanguages(startpoints_pb2.ListLanguagesRequest(), wait_for_ready=True).languages
    left = engine.api.containers(
        all=True, filters={"label": f"com.docker.compose.project={composed.project}-next"}
    )
    assert not left


def test_the_pair_does_the_main_job_with_tls_and_tokens_that_starting_it_makes(
    composed: Composed, namespace: Namespace, engine: Engine
) -> None:
    protected = Composed({**composed.environ, "TLS": "1"})
    folder = Path(composed.environ["CYBER_DOJO_ACCESS_DIRECTORY"])
    try:
        said = protected.up()
        settings = {
            "CYBER_DOJO_CA": str(folder / "ca.pem"),
            "CYBER_DOJO_TOKEN_FILE": str(folder / "operator.token"),
        }
        assert " ".join(f"{name}={value}" for name, value in settings.items()) in said
        said = demo(protected.storer, protected.runner, namespace, engine, **settings)
        assert "the next test works" in said
        # The command inside the containers, and the health check, have what they need too.
        said = protected.compose("exec", "-T", "runner", "cyber-dojo", "verify")
        assert said.endswith(": all as it should be\n")
        audit = (Path(composed.environ["CYBER_DOJO_LOG_DIRECTORY"]) / "audit.log").read_text()
        assert json.loads(audit.splitlines()[-1])["action"] == "DeleteKata"
        made = {file.name: file.read_bytes() for file in folder.iterdir()}
        assert protected.run("scripts/access.sh").returncode == 0  # as it is started again
        assert {file.name: file.read_bytes() for file in folder.iterdir()} == made
    finally:
        composed.up()
