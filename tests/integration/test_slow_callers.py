"""64 callers who each do the slowest thing that is allowed keep nobody waiting, and leave nothing.

Nothing is timed here; `benchmarks/slow_calls.py` measures how long others wait.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import grpc
import pytest

from benchmarks import slow_callers
from benchmarks.slow_callers import ENDLESS, LARGE_FILES, MIX, RESTORES
from cyberdojo.runner.v1 import runner_pb2_grpc
from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from dojo import locks
from dojo.engine.data_containers import DataContainers
from dojo.limits import WORKING_CALLS
from storer.katas import publish
from support.fuzz.watched import Watched, watched
from support.kata_folders import Kata
from support.processes import children_of
from support.refusals import code_to_judge
from support.runner.submissions import GREEN, containers, request
from support.services import Service, wait_until
from support.storer.fixtures import delete_all
from support.storer.storing import Katas, a_test, at_once

# Others' deadline. It says that they are answered, not how fast.
SECONDS = 240
ROUNDS = 5
OBJECTS = 100_000  # of the kata that is read object by object: more take longer, and nothing else

OK, RESOURCE_EXHAUSTED = grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED
# A held kata is told as such, after the wait that a call may have.
ALLOWED = {OK, RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}


@pytest.fixture
def storer(start_service: Callable[..., Service]) -> Iterator[Watched]:
    """A storer of this test's own."""
    service = start_service("storer")
    with watched(service) as found:
        yield found
    service.stop()


@pytest.fixture
def runner(start_service: Callable[..., Service], storer: Watched) -> Iterator[Watched]:
    """A runner of this test's own."""
    service = start_service("runner", CYBER_DOJO_STORER=storer.service.address)
    with watched(service) as found:
        yield found
    service.stop()


@pytest.fixture(autouse=True)
def _tidy(data_containers: DataContainers) -> Iterator[None]:
    yield
    delete_all(data_containers)


@pytest.mark.timeout(900)  # on a machine that may be busy
def test_64_slow_callers_hold_up_no_others_and_leave_nothing(
    storer: Watched, runner: Watched, data_containers: DataContainers
) -> None:
    katas = Katas(storer_pb2_grpc.StorerServiceStub(storer.channel))
    runs = runner_pb2_grpc.RunnerServiceStub(runner.channel)
    slow = slow_callers.prepare(katas.stub, OBJECTS)
    other = Kata(kata_id := katas.started("whale", "zebra"), data_containers.folder(kata_id))
    read = storer_pb2.GetKataRequest(kata_id=kata_id)
    with locks.locked(data_containers.folder(slow.held)):
        with slow_callers.slow_callers(
            storer.service.address, runner.service.address, slow, MIX
        ) as callers:
            assert len(callers) == 64
            assert sum("Restore" in caller.name for caller in callers) == RESTORES
            for caller in callers:
                assert caller.has_begun.wait(SECONDS), caller.name
            for number in range(1, ROUNDS + 1):
                wait_until(lambda: children_of(storer.service.pid))  # a comparison goes on
                assert katas.stub.GetKata(read, timeout=SECONDS).kata_id == kata_id
                test = a_test(kata_id, "whale", request_id=str(number))
                assert katas.stub.RecordTest(test, timeout=SECONDS).light.number == number
                run = request(other, avatar="zebra")
                assert runs.Run(run, timeout=SECONDS).colour == GREEN
            for caller in callers:
                assert caller.name not in ENDLESS or not caller.rounds, caller.name
            assert len(_staged(data_containers)) >= MIX["RestoreKata"] + MIX["RestoreKatas"]
        # All have left, in the middle of their calls. The lock is still held.
        wait_until(lambda: not children_of(storer.service.pid), SECONDS)
        wait_until(lambda: not _staged(data_containers), SECONDS)
    for caller in callers:
        assert {code_to_judge(error) for error in caller.errors} <= ALLOWED, caller.name
    for kata in (slow.compared, slow.large, slow.held, slow.run, slow.run_stream):
        wait_until(partial(_is_free, data_containers, kata))
    for each in (storer, runner):
        each.check()
        each.check_at_rest()
    _assert_all_is_there_for_others(katas, runs, other, slow)
    with slow_callers.slow_callers(
        storer.service.address, runner.service.address, slow, {"RestoreKata": RESTORES}
    ):
        wait_until(lambda: len(_staged(data_containers)) == RESTORES, SECONDS)
    wait_until(lambda: not _staged(data_containers), SECONDS)


def _assert_all_is_there_for_others(
    katas: Katas, runs: runner_pb2_grpc.RunnerServiceStub, other: Kata, slow: slow_callers.Katas
) -> None:
    """Make calls that need all of what the slow callers had."""
    assert katas.record(other.id, "whale", LARGE_FILES).number == ROUNDS + 1
    assert dict(katas.files(other.id, "whale").files) == LARGE_FILES
    assert katas.diff(slow.compared, "whale", 1, 2)
    assert len(at_once(katas.tar, WORKING_CALLS * [other.id])) == WORKING_CALLS
    files = {name: content for name, content in LARGE_FILES.items() if name != "cyber-dojo.sh"}
    assert runs.Run(request(other, files=files), timeout=SECONDS).colour == GREEN


def _is_free(data_containers: DataContainers, kata_id: str) -> bool:
    """Return whether nobody holds a kata's lock, and no run of the kata goes on."""
    kata = Kata(kata_id, data_containers.folder(kata_id))
    return not locks.is_locked(kata.folder) and not containers(data_containers.engine, kata)


def _staged(data_containers: DataContainers) -> list[Path]:
    """Return the folders in which katas are staged."""
    name = data_containers.namespace.name
    return list(data_containers.volume_root.glob(f"{name}-*/_data/{publish.INCOMING}*"))
