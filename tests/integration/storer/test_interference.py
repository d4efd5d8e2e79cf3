"""Katas survive operators, engines, clocks and other storers that interfere with the storer."""

import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from cyberdojo.storer.v1 import storer_pb2
from support.clocks import shifted
from support.own_engine import OwnEngine
from support.services import Service, code_of, wait_until
from support.storer.backups import backup
from support.storer.disks import storer_on
from support.storer.loads import Client, Shared, observe
from support.storer.storing import FILES, GREEN, Katas, Stub, a_test, refused
from support.storer.verifying import verify

READ_ONLY = grpc.StatusCode.FAILED_PRECONDITION
DAY_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Alone:
    """A storer with an archive, on an engine that nothing else uses."""

    katas: Katas
    engine: OwnEngine
    folder: Path

    def docker(self, *arguments: str) -> str:
        """Run a docker command as an operator would."""
        command = ["docker", "--host", self.engine.url, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def container(self, kata_id: str) -> str:
        """Return the name of a kata's container and of its volume."""
        (volume,) = (self.folder / "data/volumes").glob(f"*-kata-{kata_id}")
        return volume.name

    def archive(self, kata_id: str) -> None:
        """Archive a kata."""
        self.katas.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=kata_id))

    def remove_volume(self, kata_id: str) -> None:
        """Remove a kata's container and volume."""
        name = self.container(kata_id)
        self.docker("rm", name)
        self.docker("volume", "rm", name)


@pytest.fixture(scope="module")
def alone(
    tmp_path_factory: pytest.TempPathFactory,
    start_service: Callable[..., Service],
    connect: Callable[[str], grpc.Channel],
) -> Iterator[Alone]:
    folder = tmp_path_factory.mktemp("alone")
    archive = str(folder / "archive")
    with storer_on(folder, start_service, CYBER_DOJO_ARCHIVE=archive) as (own, service):
        yield Alone(Katas(Stub(connect(service.address))), own, folder)
    own.remove()


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Make a folder read-only, even for root."""
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        yield
    finally:
        # umount fails while a file in it is open, during a sync for example.
        wait_until(lambda: not subprocess.run(["umount", folder], check=False).returncode)


@pytest.mark.parametrize("prune", ["container", "system"])
def test_an_operator_can_prune_while_a_class_is_at_work(alone: Alone, prune: str) -> None:
    katas = alone.katas
    kata_id = katas.started("whale")
    stopped = threading.Event()

    def record() -> int:
        count = 0
        while not stopped.is_set():
            count += 1
            assert katas.record(kata_id, "whale").number == count
        return count

    with ThreadPoolExecutor(1) as threads:
        recording = threads.submit(record)
        for _ in range(3):
            alone.docker(prune, "prune", "--force")
        stopped.set()
        count = recording.result()
    assert len(katas.lights(kata_id, "whale")) == count + 1
    alone.docker(prune, "prune", "--force")
    name = alone.container(kata_id)

    def is_made_again() -> bool:
        katas.get(kata_id)
        return name in alone.docker("ps", "--all", "--format", "{{.Names}}").split()

    wait_until(is_made_again)
    assert verify(katas, kata_id).kinds() == []


def test_a_restarted_engine_has_all_katas(alone: Alone) -> None:
    katas = alone.katas
    kata_id = katas.started("whale")
    katas.record(kata_id, "whale")
    alone.engine.stop()
    assert katas.record(kata_id, "whale").number == 2
    alone.engine.start()
    wait_until(lambda: code_of(katas.create) is grpc.StatusCode.OK)
    assert katas.record(kata_id, "whale").number == 3
    assert verify(katas, kata_id).kinds() == []


def test_a_kata_whose_volume_was_removed_by_hand_no_longer_exists(alone: Alone) -> None:
    katas = alone.katas
    kata_id = katas.started("whale")
    katas.record(kata_id, "whale")
    alone.remove_volume(kata_id)
    with refused(grpc.StatusCode.NOT_FOUND, says=kata_id):
        katas.record(kata_id, "whale")
    with refused(grpc.StatusCode.NOT_FOUND, says=kata_id):
        katas.get(kata_id)
    assert not list((alone.folder / "data/volumes").glob(f"*-kata-{kata_id}"))


def test_an_archived_kata_whose_volume_was_removed_by_hand_is_fetched(
    alone: Alone,
) -> None:
    katas = alone.katas
    kata_id = katas.started("whale")
    katas.record(kata_id, "whale")
    alone.archive(kata_id)
    katas.record(kata_id, "whale")
    alone.remove_volume(kata_id)
    assert [light.number for light in katas.lights(kata_id, "whale")] == [0, 1]
    assert katas.record(kata_id, "whale").number == 2
    assert verify(katas, kata_id).kinds() == []


def test_a_read_only_volume_is_reported_and_can_be_read(alone: Alone) -> None:
    katas = alone.katas
    kata_id = katas.started("whale")
    katas.record(kata_id, "whale", colour=GREEN)
    with read_only(alone.folder / "data/volumes" / alone.container(kata_id) / "_data"):
        with refused(READ_ONLY, says="Read-only file system"):
            katas.record(kata_id, "whale")
        with refused(READ_ONLY, says="Read-only file system"):
            katas.start(kata_id, "bear")
        with refused(READ_ONLY, says="Read-only file system"):
            katas.delete(kata_id)
        assert [light.number for light in katas.lights(kata_id, "whale")] == [0, 1]
        assert dict(katas.files(kata_id, "whale", 1).files) == FILES
        assert katas.tar(kata_id)
    assert katas.record(kata_id, "whale").number == 2
    assert katas.start(kata_id, "bear") == "bear"
    assert verify(katas, kata_id).kinds() == []


def test_an_engine_that_cannot_write_volumes_is_reported(alone: Alone) -> None:
    katas = alone.katas
    kata_id = katas.started("whale")
    with read_only(alone.folder / "data/volumes"):
        with refused(READ_ONLY, says="read-only file system"):
            katas.create()
        assert len(katas.lights(kata_id, "whale")) == 1
    assert katas.create()


def test_a_storer_that_cannot_write_volumes_starts(
    alone: Alone, start_storer: Callable[..., Service], client: Callable[[Service], Katas]
) -> None:
    kata_id = alone.katas.started("whale")
    alone.katas.record(kata_id, "whale")
    with read_only(alone.folder / "data/volumes"):
        service = start_storer(DOCKER_HOST=alone.engine.url)
        katas = client(service)
        assert [light.number for light in katas.lights(kata_id, "whale")] == [0, 1]
        assert dict(katas.files(kata_id, "whale", 1).files) == FILES
        assert katas.tar(kata_id)
        with refused(READ_ONLY, says="ead-only file system"):
            katas.record(kata_id, "whale")
        service.stop()
    assert alone.katas.record(kata_id, "whale").number == 2


class Either:
    """A client of several storers, which sends each call to any of them."""

    def __init__(self, stubs: list[Stub], seed: int) -> None:
        self._stubs = stubs
        self._random = random.Random(seed)  # noqa: S311 - it has to be the same each time

    def __getattr__(self, name: str) -> Any:
        return getattr(self._random.choice(self._stubs), name)


def test_two_storers_on_one_engine_do_not_harm_each_other(
    start_storer: Callable[..., Service], client: Callable[[Service], Katas], tmp_path: Path
) -> None:
    archive = str(tmp_path / "archive")
    both = [client(start_storer(CYBER_DOJO_ARCHIVE=archive)) for _ in range(2)]
    shared = Shared(both[0].started("whale"))
    clients = [Client(seed, shared, {}) for seed in range(4)]
    stopped = threading.Event()
    with ThreadPoolExecutor(len(clients)) as threads:
        playing = []
        for seed, each in enumerate(clients):
            either = Katas(Either([katas.stub for katas in both], seed))  # type: ignore[arg-type]
            playing.append(threads.submit(each.play, either, stopped))
        time.sleep(5)  # clients make calls meanwhile
        stopped.set()
        for played in playing:
            played.result()
    now = time.monotonic()
    for katas in both:
        shared.check(katas, now)
        for each in clients:
            each.check(katas, now, now)
            each.check_files(katas)
        assert {kind for kind, _, _ in verify(katas).kinds()} <= {"DANGLING"}


def test_a_clock_that_goes_backwards_does_no_harm(
    start_storer: Callable[..., Service], client: Callable[[Service], Katas], tmp_path: Path
) -> None:
    archive = {"CYBER_DOJO_ARCHIVE": str(tmp_path / "archive")}
    service = start_storer(**archive)
    katas = client(service)
    kata_id, idle = katas.started("whale"), katas.started("bear")
    untimed = a_test(kata_id, "whale")
    untimed.ClearField("time")
    now = katas.stub.RecordTest(untimed).light.time.seconds
    before = backup(katas)
    service.kill()
    service = start_storer(
        NO_FAKE_STAT="1",
        **shifted(-2 * DAY_SECONDS),
        **archive,
    )
    katas = client(service)
    light = katas.stub.RecordTest(untimed).light
    assert light.number == 2
    assert light.time.seconds < now - DAY_SECONDS
    with katas.watching(kata_id) as watched:
        assert [next(watched).light.number for _ in range(3)] == [0, 1, 2]
    assert backup(katas, since_token=before.token).states == {kata_id: "sent", idle: "unchanged"}
    for _ in range(2):
        katas.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=kata_id))
        assert len((observe(katas, kata_id) or {})["whale"]) == 3
    assert verify(katas).kinds() == []
    service.stop()
    katas = client(start_storer(**archive))
    assert katas.stub.RecordTest(untimed).light.number == 3
    assert verify(katas).kinds() == []
