"""etcd has no more room: nothing is recorded, reading goes on, and it recovers when it has some."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from support.commands import CommandLine
from support.machines.etcd import Etcd
from support.services import wait_until
from support.storer.s3 import S3Server
from support.storer.several import Storers
from support.storer.storing import FILES, refused

QUOTA_BYTES = 4 * 1024 * 1024
LIGHT_BYTES = 300_000


@pytest.fixture
def small_etcd(tmp_path: Path) -> Iterator[Etcd]:
    """An etcd with room for some large lights."""
    etcd = Etcd(tmp_path / "small-etcd", quota_bytes=QUOTA_BYTES)
    etcd.start()
    yield etcd
    etcd.remove()


def test_a_full_etcd_records_nothing_and_recovers_when_its_operator_makes_room(
    make_storers: Callable[..., Storers], small_etcd: Etcd, s3: S3Server, tmp_path: Path
) -> None:
    storers = make_storers(small_etcd, "s3://katas/class", **s3.environ)
    storers.add()
    storers.add()
    katas = storers.katas(0)
    kata_id = katas.started("whale")
    line = CommandLine(storers.address(1), tmp_path)
    wait_until(lambda: storers.all_records()[0] == 0)
    assert line.run("cluster", "status").code == 0
    s3.freeze()
    numbers = []
    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, reason="ETCD_FULL"):
        for _ in range(100):
            files = {**FILES, "large.txt": secrets.token_bytes(LIGHT_BYTES).hex().encode()[::2]}
            numbers.append(katas.record(kata_id, "whale", files).number)
    assert numbers == list(range(1, len(numbers) + 1))
    # The rest is refused as well, and what is there can be read, by way of the other one too.
    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, reason="ETCD_FULL"):
        storers.katas(1).record(kata_id, "whale")
    for number in range(2):
        assert len(storers.katas(number).lights(kata_id, "whale")) == len(numbers) + 1
    done = line.run("cluster", "status")
    assert done.code == 1
    assert "etcd is full" in done.complaint
    assert "docs/many-machines.md" in done.complaint
    # The archive is back. It left a write unanswered, so the kata needs a new edition, and that
    # takes room in etcd.
    s3.thaw()
    small_etcd.enlarge()
    # etcd says that it is full also of the change that fills it, which it makes.
    newest = katas.record(kata_id, "whale").number
    assert newest in {len(numbers) + 1, len(numbers) + 2}
    wait_until(lambda: storers.all_records()[0] == 0, 120)
    assert line.run("cluster", "status").code == 0
    storers.services[0].kill()
    last = storers.katas(1).record(kata_id, "whale", request_id="request-last")
    assert last.number == newest + 1


def test_a_storer_starts_while_etcd_is_full(
    make_storers: Callable[..., Storers], small_etcd: Etcd
) -> None:
    storers = make_storers(small_etcd)
    storers.add()
    kata_id = storers.katas(0).started("whale")
    wait_until(lambda: storers.all_records()[0] == 0)
    small_etcd.fill()
    storers.services[0].kill()
    storers.start_again(0)
    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, reason="ETCD_FULL"):
        storers.katas(0).record(kata_id, "whale")
    small_etcd.empty()
    small_etcd.make_room()
    assert storers.katas(0).record(kata_id, "whale").number == 1
