"""Machines are listed, and one is drained: the others take its katas while they are used."""

import itertools
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from cyberdojo.machines.v1 import machines_pb2, machines_pb2_grpc
from support.histories import checker
from support.machines.etcd import Etcd
from support.machines.practice import Practice
from support.services import Service, free_ports, wait_until
from support.storer.several import Storers
from support.storer.storing import FILES, a_test, refused

GAP_SECONDS = 30

Stub = machines_pb2_grpc.MachinesServiceStub


@pytest.fixture
def machines(
    storers: Storers, connect: Callable[[str], grpc.Channel]
) -> Callable[[int], dict[str, machines_pb2.Machine]]:
    """Returns the machines by their names, as a storer tells them."""

    def machines(number: int) -> dict[str, machines_pb2.Machine]:
        stub = Stub(connect(storers.address(number)))
        found = stub.ListMachines(machines_pb2.ListMachinesRequest()).machines
        return {each.name: each for each in found}

    return machines


@pytest.fixture
def drain(storers: Storers, connect: Callable[[str], grpc.Channel]) -> Callable[..., None]:
    """Drains a machine by way of a storer, or ends that."""

    def drain(by: int, name: str, *, end: bool = False) -> None:
        stub = Stub(connect(storers.address(by)))
        stub.DrainMachine(machines_pb2.DrainMachineRequest(name=name, end=end))

    return drain


def test_each_machine_tells_of_all(
    storers: Storers, machines: Callable[[int], dict[str, machines_pb2.Machine]]
) -> None:
    kata_id = storers.katas(1).started("whale")
    wait_until(lambda: storers.record_count(kata_id) == 0)
    for number in range(3):
        found = machines(number)
        assert list(found) == ["n0", "n1", "n2"]
        assert [each.kata_count for each in found.values()] == [0, 1, 0]
        assert found["n2"].storer == storers.address(2)
        assert found["n2"].runner == storers.runner_address(2)
        assert not any(each.problem or each.draining for each in found.values())
        assert len({each.version for each in found.values()} - {""}) == 1


def test_a_machine_that_does_not_answer_is_told_as_long_as_it_counts_as_alive(
    storers: Storers, machines: Callable[[int], dict[str, machines_pb2.Machine]]
) -> None:
    with storers.frozen(2):
        wait_until(lambda: "n2" not in machines(0))
    wait_until(lambda: "n2" in machines(0))
    wait_until(lambda: machines(0)["n2"].problem == "")


def test_the_katas_of_a_drained_machine_go_to_the_others_while_they_are_used(
    storers: Storers,
    machines: Callable[[int], dict[str, machines_pb2.Machine]],
    drain: Callable[..., None],
) -> None:
    katas = [storers.katas(0).started("whale") for _ in range(4)]
    failures = 0
    with storers.katas(0).watching(katas[0]) as parts:
        assert next(parts).light.number == 0
        drain(1, "n0")
        for number, kata_id in itertools.product(range(1, 6), katas):
            request = a_test(kata_id, "whale", FILES, request_id=f"{kata_id}-{number}")
            for attempt in range(2):
                try:
                    light = storers.katas(number % 3).stub.RecordTest(request).light
                    break
                except grpc.RpcError:
                    failures += 1
                    assert attempt == 0
            assert light.number == number
        wait_until(lambda: machines(2)["n0"].kata_count == 0)
        with refused(grpc.StatusCode.UNAVAILABLE, reason="KATA_MOVED"):
            list(parts)
    assert machines(2)["n0"].draining
    assert failures <= len(katas)
    for kata_id in katas:
        assert len(storers.katas(0).lights(kata_id, "whale")) == 6
    assert {storers.owner(kata_id) for kata_id in katas} <= {1, 2}


def test_a_machine_is_added_and_another_one_taken_out_while_groups_practise(
    storers: Storers,
    machines: Callable[[int], dict[str, machines_pb2.Machine]],
    drain: Callable[..., None],
    tmp_path: Path,
) -> None:
    with Practice([*map(storers.address, (1, 2))], katas=6, avatars=2) as practice:
        practice.wait_for(2)
        added = storers.add()
        wait_until(lambda: f"n{added}" in machines(1))
        owned = [each for each in practice.kata_ids if storers.owner(each) == 1]
        assert owned
        drain(2, "n1")
        wait_until(lambda: machines(2)["n1"].kata_count == 0)
        practice.wait_for(2)
        # A machine without katas still sends calls on, so that it can be stopped at any moment.
        storers.services[1].stop()
        storers.start_again(1)
        practice.wait_for(2)
        assert {storers.owner(each) for each in owned} <= {0, 2, added}
        practice.stop()
        final = practice.read(storers.address(added))
        checker.check(tmp_path / "history.jsonl", practice.recorder.attempts(), final)
        practice.check_longest_gap(GAP_SECONDS)


def test_a_kata_that_is_created_on_a_drained_machine_goes_too(
    storers: Storers, drain: Callable[..., None]
) -> None:
    drain(0, "n0")
    kata_id = storers.katas(0).create()
    wait_until(lambda: storers.katas(0).get(kata_id).kata_id and storers.owner(kata_id) in {1, 2})


def test_a_machine_that_is_no_longer_drained_takes_katas_again(
    storers: Storers,
    machines: Callable[[int], dict[str, machines_pb2.Machine]],
    drain: Callable[..., None],
) -> None:
    drain(2, "n0")
    wait_until(lambda: machines(1)["n0"].draining)
    drain(1, "n0", end=True)
    wait_until(lambda: not machines(2)["n0"].draining)
    kata_id = storers.katas(0).started("whale")
    assert storers.katas(1).get(kata_id).avatars == ["whale"]
    assert storers.owner(kata_id) == 0


def test_a_router_learns_that_a_machine_is_drained(
    make_storers: Callable[[Etcd], Storers],
    etcd: Etcd,
    readiness: Callable[[str], tuple[int, str]],
    connect: Callable[[str], grpc.Channel],
) -> None:
    (port,) = free_ports(1)
    storers = make_storers(etcd)
    storers.add(CYBER_DOJO_HEALTH_LISTEN=f"127.0.0.1:{port}")
    wait_until(lambda: readiness(port) == (200, "ready"))
    stub = Stub(connect(storers.address(0)))
    stub.DrainMachine(machines_pb2.DrainMachineRequest(name="n0"))
    assert readiness(port)[0] == 404


def test_no_other_machine_is_drained(drain: Callable[..., None]) -> None:
    with refused(grpc.StatusCode.NOT_FOUND, reason="NO_SUCH_MACHINE", says="n0, n1, n2"):
        drain(0, "n9")


def test_the_only_machine_lists_none_and_is_not_drained(
    start_storer: Callable[..., Service], connect: Callable[[str], grpc.Channel]
) -> None:
    stub = Stub(connect(start_storer().address))
    assert not stub.ListMachines(machines_pb2.ListMachinesRequest()).machines
    with refused(grpc.StatusCode.FAILED_PRECONDITION, reason="ONLY_MACHINE"):
        stub.DrainMachine(machines_pb2.DrainMachineRequest(name="n0"))
