"""Katas go on after their etcd: with another one, and on a machine that is the only one then."""

import shutil
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from cyberdojo.machines.v1 import machines_pb2, machines_pb2_grpc
from cyberdojo.storer.v1 import storer_pb2
from support.commands import CommandLine
from support.machines.etcd import Etcd
from support.services import wait_until
from support.storer.copies import wait_until_copied
from support.storer.several import Storers
from support.storer.storing import FILES, Katas, a_test, refused


def numbered_files(number: int) -> dict[str, bytes]:
    """Return the files of a light."""
    return {**FILES, "hiker.c": b"int answer(void) { return %d; }\n" % number}


def ids_of(katas: Katas) -> list[str]:
    """Return the ids of all katas."""
    return [each.kata_id for each in katas.stub.ListKatas(storer_pb2.ListKatasRequest()).katas]


def record(katas: Katas, kata_id: str, number: int) -> None:
    """Record a light of whale's; its file says which."""
    request = a_test(kata_id, "whale", numbered_files(number), request_id=f"request-{number:04}")
    assert katas.stub.RecordTest(request).light.number == number


def check(katas: Katas, kata_id: str, newest: int) -> None:
    """Check that all of whale's lights are there, with their files."""
    assert len(katas.lights(kata_id, "whale")) == newest + 1
    for number in range(1, newest + 1):
        assert dict(katas.files(kata_id, "whale", number).files) == numbered_files(number)


@pytest.fixture
def lose_etcd(own_etcd: Etcd, tmp_path: Path) -> Callable[[], None]:
    """Starts etcd again, without its data."""

    def lose() -> None:
        own_etcd.kill()
        shutil.rmtree(tmp_path / "etcd/data")
        own_etcd.start()

    return lose


def accept(storers: Storers, number: int, folder: Path) -> int:
    """Accept the etcd that is there, by a storer's command; return the generation that begins."""
    done = CommandLine(storers.address(number), folder).run("cluster", "accept-etcd", "--json")
    assert (done.code, done.complaint) == (0, "")
    (found,) = done.records()
    return int(found["generation"])


def test_an_etcd_that_lost_its_data_can_be_accepted(
    make_storers: Callable[[Etcd], Storers],
    own_etcd: Etcd,
    lose_etcd: Callable[[], None],
    tmp_path: Path,
) -> None:
    storers = make_storers(own_etcd)
    storers.add()
    storers.add()
    for number in range(100):  # the archive will have higher tokens than the new etcd gives
        own_etcd.put("other", b"%d" % number)
    here, elsewhere = storers.katas(0).started("whale"), storers.katas(1).started("whale")
    for kata_id in (here, elsewhere):
        record(storers.katas(0), kata_id, 1)
        wait_until(lambda kata_id=kata_id: storers.record_count(kata_id) == 0)  # type: ignore[misc]
    record(storers.katas(0), here, 2)
    for service in storers.services:
        service.kill()
    lose_etcd()
    storers.start_again(0)
    for kata_id in (here, elsewhere):
        with refused(grpc.StatusCode.FAILED_PRECONDITION, reason="ETCD_BEHIND"):
            storers.katas(0).get(kata_id)
    assert accept(storers, 0, tmp_path) == 1
    check(storers.katas(0), here, 2)
    check(storers.katas(0), elsewhere, 1)
    storers.start_again(1)
    for kata_id, number in ((here, 3), (elsewhere, 2)):
        record(storers.katas(1), kata_id, number)
        wait_until(lambda kata_id=kata_id: storers.record_count(kata_id) == 0)  # type: ignore[misc]
    storers.services[0].kill()
    record(storers.katas(1), here, 4)
    check(storers.katas(1), here, 4)


def test_the_last_machine_goes_on_alone_and_is_one_of_several_again(
    make_storers: Callable[[Etcd], Storers],
    own_etcd: Etcd,
    lose_etcd: Callable[[], None],
    tmp_path: Path,
) -> None:
    storers = make_storers(own_etcd)
    storers.add()
    storers.add()
    here, elsewhere, deleted = (storers.katas(n).started("whale") for n in (0, 1, 1))
    for kata_id in (here, elsewhere, deleted):
        record(storers.katas(0), kata_id, 1)
        wait_until(lambda kata_id=kata_id: storers.record_count(kata_id) == 0)  # type: ignore[misc]
    storers.katas(0).delete(deleted)
    for service in storers.services:
        service.stop()

    storers.start_again(0, CYBER_DOJO_ETCD="")
    alone = storers.katas(0)
    assert sorted(ids_of(alone)) == sorted([here, elsewhere])
    with refused(grpc.StatusCode.NOT_FOUND):
        alone.get(deleted)
    for kata_id in (here, elsewhere):
        check(alone, kata_id, 1)
        record(alone, kata_id, 2)
    wait_until_copied(storers.containers[0].folder(elsewhere), whale=2)
    record(alone, here, 3)
    storers.services[0].stop()

    lose_etcd()
    storers.start_again(0)
    storers.start_again(1)
    with refused(grpc.StatusCode.FAILED_PRECONDITION, reason="ETCD_BEHIND"):
        storers.katas(1).get(elsewhere)
    assert accept(storers, 1, tmp_path) == 2
    record(storers.katas(0), here, 4)
    check(storers.katas(1), here, 4)
    record(storers.katas(1), elsewhere, 3)
    check(storers.katas(1), elsewhere, 3)
    with refused(grpc.StatusCode.NOT_FOUND):
        storers.katas(1).get(deleted)

    wait_until(lambda: {storers.record_count(each) for each in (here, elsewhere)} == {0})
    for service in storers.services:
        service.stop()
    storers.start_again(0, CYBER_DOJO_ETCD="")
    for kata_id, newest in ((here, 4), (elsewhere, 3)):
        check(storers.katas(0), kata_id, newest)
        record(storers.katas(0), kata_id, newest + 1)
        folder = storers.containers[0].folder(kata_id)
        wait_until_copied(folder, whale=newest + 1)


def test_a_storer_that_is_alone_has_no_etcd_to_accept(
    make_storers: Callable[[Etcd], Storers],
    own_etcd: Etcd,
    connect: Callable[[str], grpc.Channel],
) -> None:
    storers = make_storers(own_etcd)
    storers.add(CYBER_DOJO_ETCD="")
    stub = machines_pb2_grpc.MachinesServiceStub(connect(storers.address(0)))
    with refused(grpc.StatusCode.FAILED_PRECONDITION, reason="ONLY_MACHINE"):
        stub.AcceptEtcd(machines_pb2.AcceptEtcdRequest())
