"""Machines are upgraded one after the other, while groups practise on all of them."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from cyberdojo.machines.v1 import machines_pb2, machines_pb2_grpc
from support import older_version
from support.histories import checker
from support.machines.etcd import Etcd
from support.machines.practice import Practice
from support.services import wait_until
from support.storer.several import Storers
from support.storer.verifying import verify

LIGHTS = 2
WAIT_SECONDS = 120


@pytest.fixture
def older(tmp_path: Path) -> Mapping[str, str]:
    """The environment of a storer of the version before."""
    return older_version.unpack(older_version.FIRST_OF_SEVERAL, tmp_path / "older")


@pytest.fixture
def storers(
    make_storers: Callable[[Etcd], Storers], etcd: Etcd, older: Mapping[str, str]
) -> Storers:
    """Three machines of the version before."""
    made = make_storers(etcd)
    for _ in range(3):
        made.add(**older)
    return made


@pytest.fixture
def practice(storers: Storers) -> Iterator[Practice]:
    """Three groups of three, by way of all machines."""
    addresses = [storers.address(number) for number in range(3)]
    practice = Practice(addresses, katas=3, avatars=3)
    yield practice
    practice.close()


def replace(storers: Storers, number: int, practice: Practice, environ: Mapping[str, str]) -> None:
    """Drain a machine, and start another version there, while the groups go on."""
    machines = machines_pb2_grpc.MachinesServiceStub(storers.channel((number + 1) % 3))
    machines.DrainMachine(machines_pb2.DrainMachineRequest(name=f"n{number}"))
    wait_until(lambda: number not in {storers.owner(each) for each in practice.kata_ids})
    storers.services[number].stop()
    storers.start_again(number, **environ)
    practice.wait_for(LIGHTS, WAIT_SECONDS)


def test_no_light_is_lost_while_machines_are_upgraded_and_one_is_set_back(
    storers: Storers, practice: Practice, older: Mapping[str, str], tmp_path: Path
) -> None:
    practice.wait_for(LIGHTS, WAIT_SECONDS)
    for number in range(3):
        replace(storers, number, practice, {})
        assert verify(storers.katas(number), skip_archive=True).findings == []
    replace(storers, 0, practice, older)
    practice.stop()
    final = practice.read(storers.address(1))
    checker.check(tmp_path / "history.jsonl", practice.recorder.attempts(), final)
