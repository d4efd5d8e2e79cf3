"""Nodes have an engine each, on which services run, and which is killed, frozen and lost."""

import contextlib
import secrets
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from cyberdojo.runner.v1 import runner_pb2, runner_pb2_grpc
from cyberdojo.storer.v1 import storer_pb2_grpc
from dojo.engine.client import Engine
from support import machine, own_engine, test_run
from support.machines.fleet import Fleet
from support.machines.node import PORTS, Node
from support.runner.submissions import COLOUR_RULE, GREEN, PYTHON
from support.services import Service, wait_until
from support.storer.storing import Katas

AVATAR = "whale"

# A test that will be killed: a container runs on one of its nodes, and another host is lost.
PROGRAM = """
import subprocess, sys
from pathlib import Path
from dojo.engine.client import Engine
from support.machines.fleet import Fleet

folder, url, image = sys.argv[1:]
with Fleet(Path(folder)) as fleet:
    (lost,) = fleet.start_hosts("lost")
    lost.lose()
    (node,) = fleet.start_nodes("n1")
    node.load(Engine(url), image)
    options = ["--detach", "--network=none", image, "sleep", "1000"]
    subprocess.run(["docker", "--host", node.engine_url, "run", *options], check=True)
    node.freeze()
    print("frozen", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def nodes(fleet: Fleet, engine: Engine) -> list[Node]:
    """Two nodes whose engines have an image."""
    nodes = fleet.start_nodes("n1", "n2")
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda node: node.load(engine, PYTHON), nodes))
    return nodes


@pytest.fixture(autouse=True)
def _all_on(nodes: list[Node]) -> None:
    for node in nodes:
        if node.is_on:
            node.thaw()
        else:
            node.start()


def docker(node: Node, *arguments: str) -> str:
    """Run a command of docker with a node's engine, from outside of the node."""
    command = ["docker", "--host", node.engine_url, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def run_container(node: Node, name: str, *command: str) -> str:
    options = ["--network=none", f"--name={name}", *command[:-1]]
    return docker(node, "run", *options, PYTHON, "sh", "-c", command[-1])


def test_the_engine_of_each_node_runs_containers_of_its_own(nodes: list[Node]) -> None:
    for node in nodes:
        assert run_container(node, "same-name", f"echo {node.name}") == f"{node.name}\n"
    for node in nodes:
        assert docker(node, "ps", "--all", "--format={{.Names}}") == "same-name\n"
        docker(node, "rm", "same-name")


def test_on_a_node_the_usual_socket_is_that_of_its_engine(nodes: list[Node]) -> None:
    asked = ["info", "--format={{.Name}}"]
    usual = ["env", "--unset=DOCKER_HOST", "docker", *asked]
    names = [docker(node, *asked) for node in nodes]
    assert [node.run(*usual) for node in nodes] == names
    assert names == [f"{node.name}\n" for node in nodes]


@contextlib.contextmanager
def running(node: Node, module: str, **environ: str) -> Iterator[Service]:
    """A service on a node, until it is stopped or the node is lost."""
    service = node.service(module, **environ)
    try:
        yield service
    finally:
        if node.is_on:
            service.stop()
        else:
            service.kill()


@contextlib.contextmanager
def storing(node: Node) -> Iterator[Katas]:
    """The client of a storer on a node."""
    with running(node, "storer") as storer, grpc.insecure_channel(storer.address) as channel:
        yield Katas(storer_pb2_grpc.StorerServiceStub(channel))


def test_a_storer_and_a_runner_on_a_node_serve_the_tests_with_the_nodes_volumes(
    nodes: list[Node],
) -> None:
    node, other = nodes
    with (
        storing(node) as katas,
        running(node, "runner", CYBER_DOJO_STORER=f"{node.address}:{PORTS['storer']}") as runner,
        grpc.insecure_channel(runner.address) as channel,
    ):
        kata_id = katas.started(AVATAR)
        request = runner_pb2.RunRequest(
            kata_id=kata_id,
            avatar=AVATAR,
            image_name=PYTHON,
            files={"cyber-dojo.sh": b"echo tests: passed"},
            max_seconds=60,
            colour_rule=COLOUR_RULE,
        )
        run = runner_pb2_grpc.RunnerServiceStub(channel).Run
        assert [run(request, timeout=60).colour for _ in range(2)] == [GREEN, GREEN]
        assert runner.troubles() == []
    volume = f"{test_run.namespace_name()}-kata-{kata_id}"
    assert volume in docker(node, "volume", "ls", "--quiet").split()
    assert volume not in docker(other, "volume", "ls", "--quiet").split()


def test_an_engine_that_is_killed_leaves_its_containers_and_starts_again(
    nodes: list[Node],
) -> None:
    node = nodes[0]
    # The engine stops it when it starts again.
    run_container(node, "lives", "--detach", "--stop-signal=KILL", "sleep 1000")
    node.kill_engine()
    assert not own_engine.answers(node.engine_url)
    assert "sleep 1000" in node.run("ps", "-e", "-o", "args=")
    node.start_engine()
    docker(node, "rm", "--force", "lives")


def test_a_frozen_node_freezes_its_engine_and_its_containers(nodes: list[Node]) -> None:
    node = nodes[0]
    run_container(node, "busy", "--detach", "while true; do sleep 0.01; done")
    node.freeze()
    processes = [line.split() for line in node.run("ps", "-e", "-o", "stat=,comm=").splitlines()]
    stopped = {command for state, command in processes if state.startswith("T")}
    assert {"dockerd", "containerd", "sh"} <= stopped
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(["docker", "--host", node.engine_url, "version"], check=True, timeout=0.5)
    node.thaw()
    docker(node, "rm", "--force", "busy")


def test_a_lost_node_loses_its_processes_and_keeps_volumes_and_images(nodes: list[Node]) -> None:
    node = nodes[0]
    run_container(node, "lost", "--detach", "sleep 1000")
    with storing(node) as katas:
        kata_id = katas.started(AVATAR)
        katas.record(kata_id, AVATAR)
        node.lose()
    groups = Path("/sys/fs/cgroup")
    assert not [*groups.glob(node.group), *groups.glob(f"*/{node.group}")]
    node.start()
    assert docker(node, "inspect", "--format={{.State.Status}}", "lost") == "exited\n"
    docker(node, "rm", "lost")
    assert run_container(node, "again", "--rm", "echo again") == "again\n"
    with storing(node) as katas:
        assert [light.number for light in katas.lights(kata_id, AVATAR)] == [0, 1]


def test_a_fleet_of_a_killed_test_leaves_nothing(
    tmp_path_factory: pytest.TempPathFactory, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("killed")
    # A run name of its own distinguishes this fleet's things from those of the other tests.
    monkeypatch.setenv(test_run.VARIABLE, f"test-{secrets.token_hex(3)}")
    test = test_run.start_program(PROGRAM, folder, engine.url, PYTHON)
    with test:
        assert test.stdout is not None
        assert "frozen\n" in iter(test.stdout.readline, "")
        kinds = {each.kind for each in machine.look(folder).ours}
        assert kinds == {"network link", "process", "control group"}
        test.send_signal(signal.SIGKILL)
    wait_until(lambda: not machine.look(folder).ours)
    assert not (folder / "n1").exists()
