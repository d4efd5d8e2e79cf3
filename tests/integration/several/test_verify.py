"""Katas of all machines are verified, whichever is asked."""

from collections.abc import Callable

import grpc
import pytest

from cyberdojo.storer.v1 import storer_pb2
from support.machines.etcd import Etcd
from support.services import wait_until
from support.storer.several import Storers
from support.storer.storing import refused
from support.storer.verifying import verify


@pytest.fixture
def spread(storers: Storers) -> list[str]:
    """A kata on each of three machines, with two lights each; the archive has all."""
    kata_ids = []
    for number in range(3):
        katas = storers.katas(number)
        kata_ids.append(katas.started("whale"))
        katas.record(kata_ids[-1], "whale")
        katas.record(kata_ids[-1], "whale")
    wait_until(lambda: [storers.record_count(each) for each in kata_ids] == [0, 0, 0])
    return kata_ids


def damage(storers: Storers, number: int, kata_id: str) -> None:
    """Have increments.json contradict git."""
    path = storers.containers[number].folder(kata_id) / "whale/increments.json"
    path.write_bytes(b"[]")


@pytest.mark.parametrize("asked", range(3))
def test_each_kata_is_verified_once_where_it_is(
    storers: Storers, spread: list[str], asked: int
) -> None:
    for number, kata_id in enumerate(spread):
        damage(storers, number, kata_id)
    verified = verify(storers.katas(asked))
    assert {each.kata_id for each in verified.findings} == set(spread)
    assert verified.summary.kata_count == 3
    assert verified.summary.archived_count == 0
    assert verified.summary.avatar_count == 3
    assert verified.summary.light_count == 6
    assert verified.summary.left_out_count == 0
    assert verify(storers.katas(asked), mend=True).summary.mended_count >= 3
    assert verify(storers.katas(asked)).findings == []


def test_katas_that_are_named_are_verified_where_they_are(
    storers: Storers, spread: list[str]
) -> None:
    damage(storers, 2, spread[2])
    verified = verify(storers.katas(0), *spread[1:], skip_archive=True)
    assert {each.kata_id for each in verified.findings} == {spread[2]}
    assert verified.summary.kata_count == 2
    assert verify(storers.katas(0), spread[1]).summary.kata_count == 1
    with refused(grpc.StatusCode.NOT_FOUND):
        verify(storers.katas(0), "0000000000")


def test_a_kata_that_only_the_archive_has_is_verified_once(
    make_storers: Callable[[Etcd], Storers], etcd: Etcd
) -> None:
    storers = make_storers(etcd)
    storers.add()
    storers.add()
    kata_id = storers.katas(0).started("whale")
    wait_until(lambda: storers.record_count(kata_id) == 0)
    storers.katas(0).stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=kata_id))
    summary = verify(storers.katas(1)).summary
    assert (summary.kata_count, summary.archived_count) == (1, 1)


def test_a_machine_that_can_not_verify_its_katas_is_named(
    storers: Storers, spread: list[str]
) -> None:
    with (
        storers.frozen(2),
        refused(grpc.StatusCode.UNAVAILABLE, says="machine n2", reason="STORER_UNAVAILABLE"),
    ):
        verify(storers.katas(0))
    wait_until(lambda: verify_if_it_can(storers, 0) == len(spread))


def verify_if_it_can(storers: Storers, number: int) -> int:
    """Return how many katas were verified; 0 if a machine did not do its part."""
    try:
        return verify(storers.katas(number)).summary.kata_count
    except grpc.RpcError:
        return 0
