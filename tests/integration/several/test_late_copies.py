"""A storer is frozen while it writes a copy: what it writes when it thaws counts nowhere."""

import secrets
import signal
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from cyberdojo.storer.v1 import storer_pb2
from support.machines.etcd import Etcd
from support.services import freeze, wait_until
from support.storer.several import Storers
from support.storer.storing import FILES, Katas, refused

LARGE_BYTES = 15_000_000
LATE = {**FILES, "hiker.c": b"int answer(void) { return 2; }\n"}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
def storers(make_storers: Callable[..., Storers], etcd: Etcd, archive: Path) -> Storers:
    storers = make_storers(etcd, str(archive))
    for _ in range(3):
        storers.add()
    return storers


@pytest.fixture
def frozen_kata(storers: Storers, archive: Path) -> str:
    """A kata whose owner, the first storer, is frozen in the middle of writing a copy."""
    katas, owner = storers.katas(0), storers.services[0]
    kata_id = katas.started("whale")
    incoming = archive / ".incoming"

    def is_frozen() -> bool:
        """Record what takes long to copy, and freeze the owner meanwhile, if it is not too fast."""
        katas.record(kata_id, "whale", {**FILES, "large": secrets.token_bytes(LARGE_BYTES)})
        while not any(incoming.iterdir()):
            if storers.record_count(kata_id) == 0:
                return False
        freeze(owner)
        if any(incoming.iterdir()):
            return True
        owner.send_signal(signal.SIGCONT)
        return False

    wait_until(is_frozen)
    return kata_id


def written(archive: Path, kata_id: str) -> list[str]:
    """Return the names of the files that the archive has of a kata, in order."""
    files = (str(each.relative_to(archive)) for each in archive.rglob("*") if each.is_file())
    return sorted(name for name in files if kata_id in name)


def bodies(archive: Path, kata_id: str) -> list[str]:
    """Return the names of the files that have what was too large for etcd."""
    return [name for name in written(archive, kata_id) if name.startswith(".bodies/")]


def thaw(storers: Storers, archive: Path) -> None:
    """Let the first storer continue until it has written what it had begun."""
    storers.services[0].send_signal(signal.SIGCONT)
    wait_until(lambda: not any((archive / ".incoming").iterdir()))


def record(katas: Katas, kata_id: str, request_id: str) -> int:
    """Record a test, again until it is acknowledged."""
    found: list[int] = []

    def is_recorded() -> bool:
        try:
            found.append(katas.record(kata_id, "whale", LATE, request_id=request_id).number)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
        return bool(found)

    wait_until(is_recorded)
    return found[0]


def test_a_copy_of_a_former_owner_is_never_the_current_one(
    storers: Storers, archive: Path, frozen_kata: str
) -> None:
    number = record(storers.katas(1), frozen_kata, "request-one")
    wait_until(lambda: storers.record_count(frozen_kata) == 0)
    wait_until(lambda: bodies(archive, frozen_kata) == [])  # they go after their records
    current = written(archive, frozen_kata)
    thaw(storers, archive)
    wait_until(lambda: written(archive, frozen_kata) == current)
    storers.services[1].kill()
    assert storers.katas(2).files(frozen_kata, "whale", number).files == LATE
    assert record(storers.katas(0), frozen_kata, "request-two") == number + 1
    assert storers.owner(frozen_kata) == 2


def test_what_is_too_large_for_etcd_is_in_the_archive_no_longer_than_it_has_to_be(
    storers: Storers, archive: Path
) -> None:
    large = {**FILES, "large": secrets.token_bytes(LARGE_BYTES // 10)}
    katas = storers.katas(0)
    kata_id = katas.started("whale")
    tar = katas.tar(kata_id)
    katas.record(kata_id, "whale", large)
    wait_until(lambda: storers.record_count(kata_id) == 0)
    wait_until(lambda: bodies(archive, kata_id) == [])  # they go after their records
    katas.restore(tar, overwrite=True)  # the whole kata is one
    wait_until(lambda: storers.record_count(kata_id) == 0)
    wait_until(lambda: bodies(archive, kata_id) == [])
    katas.restore(tar, overwrite=True)
    katas.record(kata_id, "whale", large)
    katas.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=kata_id))
    assert bodies(archive, kata_id) == []
    katas.record(kata_id, "whale", large)
    katas.delete(kata_id)
    assert bodies(archive, kata_id) == []


def test_a_copy_of_a_deleted_kata_is_gone_again(
    storers: Storers, archive: Path, frozen_kata: str
) -> None:
    record(storers.katas(1), frozen_kata, "request-one")
    storers.katas(1).delete(frozen_kata)
    gone = written(archive, frozen_kata)
    assert [Path(name).suffix for name in gone] == [".deleted"]
    thaw(storers, archive)
    wait_until(lambda: written(archive, frozen_kata) == gone)
    for number in range(3):
        with refused(grpc.StatusCode.NOT_FOUND):
            storers.katas(number).get(frozen_kata)
