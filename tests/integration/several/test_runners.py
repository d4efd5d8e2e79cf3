"""A test runs on the machine that owns its kata, whichever runner is asked."""

from collections.abc import Callable

import grpc
import pytest

from cyberdojo.runner.v1 import runner_pb2, runner_pb2_grpc
from support.machines.etcd import Etcd
from support.runner.submissions import AVATAR, GREEN, a_run
from support.services import wait_until
from support.storer.several import Storers
from support.storer.storing import Katas, refused

SCRIPT = b"cat product; echo built >>product; echo tests: passed"


@pytest.fixture
def machines(make_storers: Callable[[Etcd], Storers], own_etcd: Etcd) -> Storers:
    """Two machines with a storer and a runner each."""
    made = make_storers(own_etcd)
    for number in range(2):
        made.add()
        made.add_runner(number)
    return made


@pytest.fixture
def run(
    machines: Storers, connect: Callable[[str], grpc.Channel]
) -> Callable[[int, str], runner_pb2.RunResponse]:
    """Runs a script in a kata, by the runner of a machine."""

    def run(number: int, kata_id: str) -> runner_pb2.RunResponse:
        channel = connect(machines.runner_address(number))
        return runner_pb2_grpc.RunnerServiceStub(channel).Run(a_run(kata_id, SCRIPT), timeout=60)

    return run


def test_runs_of_a_kata_are_all_in_the_sandbox_of_its_owner(
    machines: Storers, run: Callable[[int, str], runner_pb2.RunResponse]
) -> None:
    kata_id = machines.katas(0).started(AVATAR)
    outputs = [run(number, kata_id).stdout.content for number in (0, 1, 1, 0)]
    assert [output.count(b"built") for output in outputs] == [0, 1, 2, 3]
    assert machines.owner(kata_id) == 0


def test_output_comes_from_the_owner_while_the_tests_run(
    machines: Storers, connect: Callable[[str], grpc.Channel]
) -> None:
    kata_id = machines.katas(0).started(AVATAR)
    stub = runner_pb2_grpc.RunnerServiceStub(connect(machines.runner_address(1)))
    request = runner_pb2.RunStreamRequest(run=a_run(kata_id, SCRIPT))
    parts = list(stub.RunStream(request, timeout=60))
    assert parts[-1].result.colour == GREEN
    assert len(parts) > 1
    assert machines.owner(kata_id) == 0


def test_a_run_after_the_owner_was_lost_is_on_another_machine(
    machines: Storers, run: Callable[[int, str], runner_pb2.RunResponse]
) -> None:
    kata_id = machines.katas(0).started(AVATAR)
    assert run(0, kata_id).colour == GREEN
    machines.runners[0].kill()
    machines.services[0].kill()
    wait_until(lambda: machines.katas(1).get(kata_id).kata_id)
    assert run(1, kata_id).colour == GREEN
    assert machines.owner(kata_id) == 1


def test_a_run_is_not_answered_by_a_machine_that_etcd_does_not_confirm(
    machines: Storers, own_etcd: Etcd, connect: Callable[[str], grpc.Channel]
) -> None:
    kata_id = machines.katas(0).started(AVATAR)
    stub = runner_pb2_grpc.RunnerServiceStub(connect(machines.runner_address(0)))
    assert stub.Run(a_run(kata_id, SCRIPT), timeout=60).colour == GREEN
    own_etcd.freeze()
    try:
        with refused(grpc.StatusCode.UNAVAILABLE, reason="ETCD_UNAVAILABLE"):
            stub.Run(a_run(kata_id, SCRIPT), timeout=60)
    finally:
        own_etcd.thaw()
    wait_until(lambda: _answers(machines.katas(0), kata_id))
    assert stub.Run(a_run(kata_id, SCRIPT), timeout=60).colour == GREEN


def _answers(katas: Katas, kata_id: str) -> bool:
    return katas.get(kata_id).kata_id == kata_id
