"""Runs at the same time, and runs that are ended early."""

import contextlib
import itertools
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from cyberdojo.runner.v1 import runner_pb2
from dojo.engine.client import Engine
from dojo.naming import Namespace
from support.kata_folders import Kata
from support.runner.submissions import (
    AVATAR,
    GREEN,
    TIMED_OUT,
    Stub,
    assert_serves,
    containers,
    held,
    prepare,
    refused,
    request,
    waiting_containers,
)
from support.services import Service, wait_until

# Prints `not alone` if another run is in the same sandbox at the same time.
ALONE = "mkdir busy || echo not alone; sleep 0.1; rmdir busy; echo tests: passed"
# Prints when it began and ended, in nanoseconds.
TIMED = "date +%s%N; sleep 0.1; date +%s%N; echo tests: passed"
AVATARS = ("bear", "crab", "deer", "fox", "lion")

StartRunner = Callable[..., Service]
Client = Callable[[Service], Stub]


def queue(runner: Stub, asked: runner_pb2.RunRequest) -> "grpc.Future[runner_pb2.RunResponse]":
    """Start a run; return when it has its place in the queue."""
    call = runner.Run.future(asked, timeout=120)
    # These calls use the same connection, so they arrive later, and they have to ask the engine.
    for _ in range(2):
        runner.ListImages(runner_pb2.ListImagesRequest())
    return call


def times(response: runner_pb2.RunResponse) -> tuple[int, int]:
    assert response.colour == GREEN, response
    began, ended, _ = response.stdout.content.split(maxsplit=2)
    return int(began), int(ended)


def others_of(service: Service) -> list[str]:
    """Return the runners of the namespace that a runner found when it started."""
    wanted = "another runner serves this namespace"
    return [event["who"] for event in service.events() if event["event"] == wanted]


@pytest.fixture
def full_kata(started_kata: Kata) -> Kata:
    """A kata with more avatars than the whale."""
    for avatar in AVATARS:
        started_kata.start_avatar(avatar)
    return started_kata


def test_runs_of_one_avatar_take_turns(runner: Stub, started_kata: Kata) -> None:
    calls = [runner.Run.future(request(started_kata, ALONE), timeout=120) for _ in range(4)]
    assert [call.result().stdout.content for call in calls] == [b"tests: passed\n"] * 4


def test_runs_of_one_avatar_in_two_runners_take_turns(
    start_runner: StartRunner, client: Client, started_kata: Kata
) -> None:
    runners = [client(start_runner()) for _ in range(2)]
    asked = request(started_kata, ALONE)
    calls = [runner.Run.future(asked, timeout=120) for runner in runners * 2]
    assert [call.result().stdout.content for call in calls] == [b"tests: passed\n"] * 4


def test_runs_that_take_turns_have_their_own_files(runner: Stub, started_kata: Kata) -> None:
    def own(number: int) -> bytes:
        files = {f"{number}.txt": b"", "number": b"%d" % number}
        asked = request(started_kata, "sleep 0.05; ls *.txt; cat number", files)
        return runner.Run(asked, timeout=120).stdout.content

    with ThreadPoolExecutor(5) as threads:
        found = list(threads.map(own, range(5)))
    assert found == [b"%d.txt\n%d" % (number, number) for number in range(5)]


def test_different_avatars_run_at_the_same_time(runner: Stub, full_kata: Kata) -> None:
    # All of them are in progress before the first one is released.
    runs = [held(runner, full_kata, avatar) for avatar in AVATARS[:3]]
    assert [each.release().colour for each in runs] == [GREEN] * 3


def test_one_avatar_can_run_in_two_katas_at_the_same_time(
    runner: Stub, new_kata: Callable[[], Kata]
) -> None:
    katas = [new_kata(), new_kata()]
    for kata in katas:
        kata.start_avatar(AVATAR)
    runs = [held(runner, kata) for kata in katas]
    assert [each.release().colour for each in runs] == [GREEN] * 2


def test_no_more_than_the_limit_run_at_the_same_time(
    start_runner: StartRunner, client: Client, full_kata: Kata
) -> None:
    runner = client(start_runner(CYBER_DOJO_RUNNER_MAX_CONCURRENT_RUNS="2"))
    calls = [
        runner.Run.future(request(full_kata, TIMED, avatar=avatar), timeout=120)
        for avatar in AVATARS
    ]
    spans = [times(call.result()) for call in calls]
    for at, _ in spans:
        assert sum(began <= at < ended for began, ended in spans) <= 2


def test_waiting_runs_start_in_the_order_of_their_arrival(
    start_runner: StartRunner, client: Client, full_kata: Kata
) -> None:
    runner = client(start_runner(CYBER_DOJO_RUNNER_MAX_CONCURRENT_RUNS="1"))
    first = held(runner, full_kata)
    waiting = [queue(runner, request(full_kata, TIMED, avatar=avatar)) for avatar in AVATARS]
    assert not any(call.done() for call in waiting)
    first.release()
    spans = [times(call.result()) for call in waiting]
    assert all(ended <= began for (_, ended), (began, _) in itertools.pairwise(spans))


def test_a_run_that_waits_for_its_avatar_does_not_block_other_avatars(
    start_runner: StartRunner, client: Client, full_kata: Kata
) -> None:
    runner = client(start_runner(CYBER_DOJO_RUNNER_MAX_CONCURRENT_RUNS="2"))
    first = held(runner, full_kata)
    second = queue(runner, request(full_kata))
    other = runner.Run(request(full_kata, avatar="bear"), timeout=60)
    assert other.colour == GREEN
    assert not second.done()
    assert first.release().colour == second.result().colour == GREEN


def test_a_cancelled_call_ends_its_container(
    runner: Stub, started_kata: Kata, engine: Engine
) -> None:
    run = held(runner, started_kata)
    assert containers(engine, started_kata)
    run.call.cancel()
    wait_until(lambda: not containers(engine, started_kata))
    assert_serves(runner, started_kata)


def test_a_deadline_that_passes_ends_the_container(
    runner: Stub, started_kata: Kata, engine: Engine
) -> None:
    assert prepare(runner, started_kata)  # so that the run begins before the deadline
    run = held(runner, started_kata, timeout=5)
    refused(run.call.result, grpc.StatusCode.DEADLINE_EXCEEDED)
    wait_until(lambda: not containers(engine, started_kata))
    assert_serves(runner, started_kata)


def test_a_client_that_vanishes_ends_the_container(
    runner_service: Service, started_kata: Kata, engine: Engine
) -> None:
    with grpc.insecure_channel(runner_service.address) as channel:
        held(Stub(channel), started_kata)
        assert containers(engine, started_kata)
    wait_until(lambda: not containers(engine, started_kata))


def test_a_call_that_was_cancelled_while_it_waited_never_runs(
    runner: Stub, runner_service: Service, started_kata: Kata
) -> None:
    first = held(runner, started_kata)
    second = queue(runner, request(started_kata, "touch ran"))
    second.cancel()
    runner_service.wait_for_event(
        lambda event: event["event"] == "cancelled" and event.get("kata") == started_kata.id
    )
    first.release()
    # This run's turn comes after that of the cancelled one.
    response = runner.Run(request(started_kata, "ls"), timeout=60)
    assert response.stdout.content == b"cyber-dojo.sh\n"


def test_a_call_that_was_cancelled_while_it_waited_does_not_block_others(
    start_runner: StartRunner, client: Client, full_kata: Kata
) -> None:
    runner = client(start_runner(CYBER_DOJO_RUNNER_MAX_CONCURRENT_RUNS="1"))
    first = held(runner, full_kata)
    cancelled = [queue(runner, request(full_kata, avatar=avatar)) for avatar in AVATARS]
    last = queue(runner, request(full_kata))
    for call in cancelled:
        call.cancel()
    first.release()
    assert last.result().colour == GREEN


def test_a_deadline_that_passes_at_any_moment_leaves_no_container(
    runner: Stub, started_kata: Kata, engine: Engine
) -> None:
    # A run takes about 200 ms, so these deadlines pass in all of its stages.
    for milliseconds in range(10, 310, 20):
        with contextlib.suppress(grpc.RpcError):
            runner.Run(request(started_kata), timeout=milliseconds / 1000)
    wait_until(lambda: not containers(engine, started_kata))
    assert_serves(runner, started_kata)
    wait_until(lambda: not containers(engine, started_kata))


def test_a_run_whose_container_somebody_removed_ends(
    runner: Stub, started_kata: Kata, engine: Engine
) -> None:
    run = held(runner, started_kata)
    for container in containers(engine, started_kata):
        engine.api.remove_container(container, force=True)
    # The call returns a response if the run had just ended, and an error if not.
    wait_until(run.call.done)
    (run.sandbox / "here").unlink()
    assert_serves(runner, started_kata)


def test_the_next_runner_removes_the_containers_of_a_killed_one(
    start_runner: StartRunner, client: Client, started_kata: Kata, engine: Engine
) -> None:
    killed = start_runner()
    run = held(client(killed), started_kata)
    killed.kill()
    refused(run.call.result, grpc.StatusCode.UNAVAILABLE)
    assert containers(engine, started_kata)
    runner = client(start_runner())
    assert not containers(engine, started_kata)
    assert_serves(runner, started_kata)


@pytest.mark.parametrize("is_killed", [False, True])
def test_runners_of_one_namespace_leave_alone_what_the_others_have(
    start_runner: StartRunner,
    client: Client,
    full_kata: Kata,
    engine: Engine,
    *,
    is_killed: bool,
) -> None:
    first_service = start_runner()
    first = client(first_service)
    assert prepare(first, full_kata, avatar="bear")
    run = held(first, full_kata)
    before = waiting_containers(engine, full_kata)
    assert before
    service = start_runner()
    second = client(service)
    who = f"process {first_service.pid} on {socket.gethostname()}, since "
    assert who in " ".join(others_of(service))
    assert prepare(second, full_kata, avatar="crab")
    assert prepare(second, full_kata, avatar="bear")
    assert second.Run(request(full_kata, avatar="deer"), timeout=120).colour == GREEN
    second.Release(runner_pb2.ReleaseRequest(kata_id=full_kata.id, avatar="bear"))
    assert set(before) < set(waiting_containers(engine, full_kata))
    if is_killed:
        service.kill()
    else:
        service.stop()
    third = start_runner()  # removes what the killed one left
    assert f"process {service.pid} " not in " ".join(others_of(third))
    wait_until(lambda: sorted(waiting_containers(engine, full_kata)) == sorted(before))
    assert run.release().colour == GREEN
    assert_serves(first, full_kata)


def test_a_runner_on_an_address_that_is_taken_changes_nothing(
    runner: Stub, runner_service: Service, started_kata: Kata, namespace: Namespace, engine: Engine
) -> None:
    run = held(runner, started_kata)
    second = subprocess.run(
        [sys.executable, "-m", "runner", "serve"],
        env={
            **os.environ,
            "CYBER_DOJO_RUNNER_LISTEN": runner_service.address,
            "CYBER_DOJO_NAMESPACE": namespace.name,
            "DOCKER_HOST": engine.url,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert second.returncode == 1
    assert f"runner: can't listen on {runner_service.address}" in second.stderr
    assert f"process {runner_service.pid} on {socket.gethostname()}, since " in second.stderr
    assert run.release().colour == GREEN


def test_a_stopping_runner_lets_a_run_end(
    start_runner: StartRunner, client: Client, started_kata: Kata, engine: Engine
) -> None:
    service = start_runner()
    run = held(client(service), started_kata)
    with ThreadPoolExecutor(1) as threads:
        stopped = threads.submit(service.stop)
        service.wait_for_event(lambda event: event["event"] == "stopping")
        assert run.release().colour == GREEN
        stopped.result()
    assert not containers(engine, started_kata)


def test_a_stopping_runner_ends_a_run_at_its_limit(
    start_runner: StartRunner, client: Client, started_kata: Kata, engine: Engine
) -> None:
    service = start_runner()
    script = "touch here; sleep 600"
    call = client(service).Run.future(request(started_kata, script, max_seconds=5), timeout=60)
    wait_until((started_kata.sandbox(AVATAR) / "here").exists)
    service.stop()
    assert call.result().colour == TIMED_OUT
    assert not containers(engine, started_kata)
