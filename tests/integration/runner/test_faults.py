"""Operators and engines that interfere with runs: a light is right, or there is none."""

import contextlib
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import docker.errors
import grpc
import pytest

from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.runner.v1 import runner_pb2
from dojo.engine.client import Engine
from dojo.engine.data_containers import DataContainers
from dojo.naming import Namespace
from support.kata_folders import Kata, make_kata
from support.own_engine import OwnEngine, StartService, services_on_an_own_engine
from support.runner.submissions import (
    AVATAR,
    FAULTY,
    GREEN,
    PYTHON,
    RED,
    Stub,
    assert_serves,
    containers,
    held,
    prepare,
    request,
    waiting_containers,
)
from support.services import wait_until

PRESSING = ("bear", "crab", "deer", "fox")
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE

T = TypeVar("T")


def answer(call: "grpc.Future[T]") -> T | grpc.StatusCode:
    """Return a call's response, or its status if it failed."""
    try:
        return call.result(timeout=120)
    except grpc.RpcError as error:
        return error.code()


def press(runner: Stub, kata: Kata, avatar: str, times: int) -> list[bool]:
    """Press test `times` times, with retries like a client; return which lights were right."""
    right: list[bool] = []
    for number in range(times):
        passes = number % 2 == 0
        script = f"echo {avatar} {number}; echo tests: {'passed' if passes else 'failed'}"
        asked = request(kata, script, avatar=avatar)
        found: runner_pb2.RunResponse | grpc.StatusCode = UNAVAILABLE
        while found is UNAVAILABLE:
            found = answer(runner.Run.future(asked, timeout=120))
        assert isinstance(found, runner_pb2.RunResponse), found
        is_own = found.stdout.content.startswith(f"{avatar} {number}\n".encode())
        right.append(is_own and found.colour == (GREEN if passes else RED))
    return right


@pytest.fixture
def pressed_kata(started_kata: Kata) -> Kata:
    """A kata with four more avatars than the whale."""
    for avatar in PRESSING:
        started_kata.start_avatar(avatar)
    return started_kata


def test_a_run_that_an_operator_kills_is_faulty_whatever_it_printed(
    runner: Stub, started_kata: Kata, engine: Engine
) -> None:
    script = "echo tests: passed; touch here; sleep 1000"
    call = runner.Run.future(request(started_kata, script, max_seconds=60))
    wait_until((started_kata.sandbox(AVATAR) / "here").exists)
    (container,) = containers(engine, started_kata)
    engine.api.kill(container)
    response = call.result()
    assert response.colour == FAULTY
    assert response.reason == "all of its processes were killed at once"
    assert response.stdout.content == b"tests: passed\n"
    assert_serves(runner, started_kata)


def test_sigterm_to_a_container_does_not_end_its_run(
    runner: Stub, started_kata: Kata, engine: Engine
) -> None:
    run = held(runner, started_kata)
    (container,) = containers(engine, started_kata)
    engine.api.kill(container, "SIGTERM")
    response = run.release()
    assert (response.colour, response.status, response.reason) == (GREEN, 0, "")


def test_containers_that_wait_can_be_removed_under_load(
    runner: Stub, pressed_kata: Kata, engine: Engine
) -> None:
    others = held(runner, pressed_kata)
    for _ in range(3):
        for avatar in PRESSING:
            assert prepare(runner, pressed_kata, avatar)
        waiting = waiting_containers(engine, pressed_kata)
        assert len(waiting) == len(PRESSING)
        for container in waiting:
            engine.api.remove_container(container, force=True)
        with ThreadPoolExecutor(len(PRESSING)) as threads:
            calls = [threads.submit(press, runner, pressed_kata, each, 1) for each in PRESSING]
            assert [call.result() for call in calls] == [[True]] * len(PRESSING)
    assert others.release().colour == GREEN


def test_a_container_removed_during_its_preparation_blocks_nobody(
    runner: Stub, pressed_kata: Kata, engine: Engine
) -> None:
    asked = runner_pb2.PrepareRequest(kata_id=pressed_kata.id, avatar=AVATAR, image_name=PYTHON)
    for _ in range(5):
        # Less time than the runner waits for an engine that does not answer.
        preparing = runner.Prepare.future(asked, timeout=18)
        found: list[str] = []
        while not found and not preparing.done():
            found = containers(engine, pressed_kata)
        for container in found:
            with contextlib.suppress(
                docker.errors.APIError
            ):  # the container is being removed already
                engine.api.remove_container(container, force=True)
        prepared = answer(preparing)
        assert prepared is UNAVAILABLE or isinstance(prepared, runner_pb2.PrepareResponse)
        other = request(pressed_kata, avatar=PRESSING[0])
        assert runner.Run(other, timeout=18).colour == GREEN


def test_an_image_without_sh_is_refused_and_blocks_nobody(
    runner: Stub, pressed_kata: Kata, engine: Engine, namespace: Namespace
) -> None:
    name = f"{namespace.name}-nothing"
    engine.api.tag(namespace.kata_image, name)
    without = request(pressed_kata, image_name=name)
    try:
        call = runner.Run.future(without, timeout=18)
        assert answer(call) is grpc.StatusCode.FAILED_PRECONDITION
        assert f"{name} can't be used: it has no sh that could be run" in call.details()
    finally:
        engine.api.remove_image(name)
    assert_serves(runner, pressed_kata)


@dataclass(frozen=True)
class Dojo:
    """A runner on an engine of its own, and a kata with avatars."""

    engine: OwnEngine
    runner: Stub
    kata: Kata


@pytest.fixture(scope="module")
def dojo(
    engine: Engine,
    namespace: Namespace,
    tmp_path_factory: pytest.TempPathFactory,
    start_service: StartService,
    connect: Callable[[str], grpc.Channel],
) -> Iterator[Dojo]:
    folder = tmp_path_factory.mktemp("engine")
    with services_on_an_own_engine(["runner"], engine, folder, start_service, PYTHON) as found:
        own, (service,) = found
        with_own = Engine(own.url)
        kata = make_kata(DataContainers(with_own, namespace, with_own.volume_root()))
        with_own.close()
        for avatar in (AVATAR, *PRESSING):
            kata.start_avatar(avatar)
        yield Dojo(own, Stub(connect(service.address)), kata)


@pytest.mark.parametrize("prune", ["container", "system"])
def test_an_operator_can_prune_while_a_class_is_at_work(dojo: Dojo, prune: str) -> None:
    for avatar in PRESSING:
        assert prepare(dojo.runner, dojo.kata, avatar)
    is_pruned = threading.Event()
    command = ["docker", "--host", dojo.engine.url, prune, "prune", "--force"]

    def prune_on() -> None:
        try:
            for _ in range(5):
                subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        finally:
            is_pruned.set()

    def press_on(avatar: str) -> list[bool]:
        right = press(dojo.runner, dojo.kata, avatar, 2)
        while not is_pruned.is_set():
            right += press(dojo.runner, dojo.kata, avatar, 1)
        return right

    with ThreadPoolExecutor(len(PRESSING) + 1) as threads:
        pruning = threads.submit(prune_on)
        calls = [threads.submit(press_on, each) for each in PRESSING]
        assert all(all(call.result()) for call in calls)
        pruning.result()


def test_an_engine_restart_during_a_run_gives_no_wrong_light(dojo: Dojo) -> None:
    # One run ends while the engine waits for it; the other does not end.
    ends = held(dojo.runner, dojo.kata, "bear")
    endless = held(dojo.runner, dojo.kata, "crab")
    with ThreadPoolExecutor(1) as threads:
        stopping = threads.submit(dojo.engine.stop)
        (ends.sandbox / "go").touch()
        found = answer(ends.call)
        assert found is UNAVAILABLE or (
            isinstance(found, runner_pb2.RunResponse) and found.colour == GREEN
        )
        stopping.result()
    assert answer(endless.call) is UNAVAILABLE
    (endless.sandbox / "here").unlink()
    dojo.engine.start()

    def serves() -> bool:
        asked = request(dojo.kata, avatar="crab")
        found = answer(dojo.runner.Run.future(asked, timeout=120))
        assert found is UNAVAILABLE or isinstance(found, runner_pb2.RunResponse)
        return isinstance(found, runner_pb2.RunResponse) and found.colour == GREEN

    wait_until(serves)
    assert press(dojo.runner, dojo.kata, "bear", 2) == [True, True]


def test_an_engine_that_is_stopped_while_a_lambda_is_evaluated_gives_no_wrong_light(
    dojo: Dojo, engine: Engine
) -> None:
    dojo.engine.load(engine, "cyber-dojo/ruby_lambdas")
    slow = colour_pb2.ColourRule()
    slow.ruby_lambda.source = "lambda { |output| sleep 0.6; output.strip.to_sym }"
    asked = request(dojo.kata, "touch done; echo green", colour_rule=slow)
    assert dojo.runner.Run(asked, timeout=60).colour == GREEN
    done = dojo.kata.sandbox(AVATAR) / "done"
    done.unlink()
    call = dojo.runner.Run.future(asked, timeout=120)
    wait_until(done.exists)
    dojo.engine.stop()
    found = answer(call)
    assert found is UNAVAILABLE or (
        isinstance(found, runner_pb2.RunResponse) and found.colour == GREEN
    )
    dojo.engine.start()

    def serves() -> bool:
        again = answer(dojo.runner.Run.future(asked, timeout=120))
        assert again is UNAVAILABLE or isinstance(again, runner_pb2.RunResponse)
        return isinstance(again, runner_pb2.RunResponse) and again.colour == GREEN

    wait_until(serves)
