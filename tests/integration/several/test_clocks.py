"""The clocks of machines differ by an hour, and nothing else does."""

from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from cyberdojo.runner.v1 import runner_pb2, runner_pb2_grpc
from cyberdojo.storer.v1 import storer_pb2
from support.clocks import shifted
from support.histories import checker
from support.machines.etcd import Etcd
from support.machines.practice import Practice
from support.runner.submissions import COLOUR_RULE, GREEN, PYTHON
from support.storer.several import Storers
from support.storer.storing import Katas, a_manifest

HOUR_SECONDS = 3600
WAIT_SECONDS = 120
LIGHTS = 3
GAP_SECONDS = 30

# Of n0, n1 and n2.
CLOCKS = [shifted(-HOUR_SECONDS), shifted(HOUR_SECONDS), {}]


@pytest.fixture
def storers(make_storers: Callable[[Etcd], Storers], etcd: Etcd) -> Storers:
    """A storer and a runner that are an hour late, two that are an hour ahead, and two others."""
    storers = make_storers(etcd)
    for environ in CLOCKS:
        storers.add_runner(storers.add(**environ), **environ)
    return storers


def created_by(katas: Katas) -> int:
    """Create a kata; return when that was, by the clock of the storer that did."""
    request = storer_pb2.CreateKataRequest(manifest=a_manifest())
    return katas.get(katas.stub.CreateKata(request).kata_id).created.seconds


def test_machines_whose_clocks_differ_are_one_installation(
    storers: Storers, connect: Callable[[str], grpc.Channel], tmp_path: Path
) -> None:
    created = [created_by(storers.katas(number)) for number in range(3)]
    assert HOUR_SECONDS - 60 < created[2] - created[0] < HOUR_SECONDS + 60
    assert HOUR_SECONDS - 60 < created[1] - created[2] < HOUR_SECONDS + 60
    with Practice([*map(storers.address, range(3))], katas=3, avatars=3) as practice:
        practice.wait_for(LIGHTS, WAIT_SECONDS)
        owners = {kata_id: storers.owner(kata_id) for kata_id in practice.kata_ids}
        assert set(owners.values()) == {0, 1, 2}
        practice.wait_for(LIGHTS, WAIT_SECONDS)
        # No kata has gone to a machine that took it for idle.
        assert {each: storers.owner(each) for each in owners} == owners
        for number in (0, 1):
            stub = runner_pb2_grpc.RunnerServiceStub(connect(storers.runner_address(number)))
            kata_id = next(each for each, owner in owners.items() if owner == 1 - number)
            request = runner_pb2.RunRequest(
                kata_id=kata_id,
                avatar=storers.katas(2).get(kata_id).avatars[0],
                image_name=PYTHON,
                files={"cyber-dojo.sh": b"echo tests: passed"},
                max_seconds=30,
                colour_rule=COLOUR_RULE,
            )
            assert stub.Run(request, timeout=60).colour == GREEN
        for number, environ in enumerate(CLOCKS[:2]):
            storers.services[number].kill()
            storers.start_again(number, **environ)
            practice.wait_for(LIGHTS, WAIT_SECONDS)
        practice.stop()
        final = practice.read(storers.address(1))
        checker.check(tmp_path / "history.jsonl", practice.recorder.attempts(), final)
        practice.check_longest_gap(GAP_SECONDS)
