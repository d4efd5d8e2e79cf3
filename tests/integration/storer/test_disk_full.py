"""On a full disk, every call that writes fails, leaves nothing behind, and succeeds later."""

import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc
import pytest

from cyberdojo.storer.v1 import storer_pb2
from dojo.chunks import rechunk
from dojo.errors import DiskFull
from storer.fs import durable
from storer.kata.kata import Kata
from storer.kata.light import Light, Submission
from storer.kata.recorder import Recorder
from storer.tar import snapshot
from storer.tar.packing import pack_objects
from support.services import Service, code_of, wait_until
from support.storer.backups import backup
from support.storer.disks import BLOCK, MIB, Disk, a_disk, storer_on
from support.storer.katas_directories import DOLPHIN, SPIDER
from support.storer.loads import State, observe
from support.storer.storing import FILES, STARTED, Katas, Stub, refused
from support.storer.verifying import verify

OK, EXHAUSTED = grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED

# Free space, so that each round of a call fails at a later step.
LEAVING = (0, 1, 2, 3, 4, 6, 8, 12, 16, 20, *range(22, 29), 32, 40, 48, 64, 96, 128, 256, 512)

# The storer empties its logs every ten seconds. Right before the first call, that makes room.
ATTEMPTS = 3


@dataclass(frozen=True)
class Full:
    """A storer on a disk that can be filled, and the data of its engine."""

    katas: Katas
    disk: Disk

    @property
    def volumes(self) -> Path:
        return self.disk.folder / "volumes"

    def left(self) -> list[str]:
        """Return temporary files, which every call has to remove."""
        patterns = ("*.new", ".incoming-*", ".starting", "tmp_obj_*", "*.lock", ".anew")
        found = [path for each in patterns for path in self.volumes.rglob(each)]
        found += (self.disk.folder / "archive/.incoming").iterdir()
        return [str(path.relative_to(self.disk.folder)) for path in found]

    def states(self) -> dict[str, State]:
        """Return the content of each kata in a data-container; None for archived ones."""
        listed = self.katas.stub.ListKatas(storer_pb2.ListKatasRequest()).katas
        here = [each.kata_id for each in listed if self._holds(each.kata_id)]
        return {
            **{each.kata_id: None for each in listed if each.in_archive},
            **{each: observe(self.katas, each) for each in here},
        }

    def _holds(self, kata_id: str) -> bool:
        return any(self.volumes.glob(f"*-kata-{kata_id}"))


@pytest.fixture(scope="module")
def full(
    tmp_path_factory: pytest.TempPathFactory,
    start_service: Callable[..., Service],
    connect: Callable[[str], grpc.Channel],
    katas_directory: Path,
) -> Iterator[Full]:
    folder = tmp_path_factory.mktemp("full")
    with (
        a_disk(folder / "data", 160 * MIB) as disk,
        storer_on(
            folder,
            start_service,
            CYBER_DOJO_ARCHIVE=str(folder / "data/archive"),
            CYBER_DOJO_KATAS_DIRECTORY=str(katas_directory),
        ) as (_, service),
    ):
        yield Full(Katas(Stub(connect(service.address))), disk)
    shutil.rmtree(folder)


Call = Callable[[], object]


@dataclass(frozen=True)
class Calls:
    """For each RPC that writes, a function that prepares a call and returns it."""

    katas: Katas
    noise: Mapping[str, bytes]

    def create(self) -> Call:
        return lambda: self.katas.create(self.noise)

    def start(self) -> Call:
        kata_id = self.katas.started("whale", files=self.noise)
        return lambda: self.katas.start(kata_id, "bear")

    def record(self) -> Call:
        kata_id = self.katas.started("whale")
        self.katas.record(kata_id, "whale")
        return lambda: self.katas.record(kata_id, "whale", self.noise)

    def fork(self) -> Call:
        kata_id = self.katas.started("whale", files=self.noise)
        request = storer_pb2.ForkKataRequest(kata_id=kata_id, avatar="whale", light_number=0)
        return lambda: self.katas.stub.ForkKata(request)

    def fork_avatar(self) -> Call:
        kata_id = self.katas.started("whale", files=self.noise)
        request = storer_pb2.ForkKataRequest(
            kata_id=kata_id, avatar="whale", light_number=0, with_avatar=True
        )
        return lambda: self.katas.stub.ForkKata(request)

    def restore(self) -> Call:
        kata_id = self.katas.started("whale", files=self.noise)
        tar = self.katas.tar(kata_id)
        self.katas.delete(kata_id)
        return lambda: self.katas.restore(tar)

    def restore_over(self) -> Call:
        kata_id = self.katas.started("whale", files=self.noise)
        tar = self.katas.tar(kata_id)
        self.katas.record(kata_id, "whale")
        return lambda: self.katas.restore(tar, overwrite=True)

    def import_(self) -> Call:
        return lambda: self.katas.import_(SPIDER.id)

    def import_old(self) -> Call:
        return lambda: self.katas.import_(DOLPHIN.id)

    def archive(self) -> Call:
        kata_id = self.katas.started("whale", files=self.noise)
        request = storer_pb2.ArchiveKataRequest(kata_id=kata_id)
        return lambda: self.katas.stub.ArchiveKata(request)

    def bring_back(self) -> Call:
        kata_id = self.katas.started("whale", files=self.noise)
        self.katas.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=kata_id))
        return lambda: self.katas.get(kata_id)

    def back_up(self) -> Call:
        self.katas.started("whale")
        return lambda: backup(self.katas)


WAYS = [name for name in vars(Calls) if callable(vars(Calls)[name]) and not name.startswith("__")]


def codes_of(full: Full, call: Call) -> list[grpc.StatusCode]:
    """Return the status of a call with more and more room, until the call succeeds."""
    before = full.states()
    codes: list[grpc.StatusCode] = []
    for blocks in LEAVING:
        full.disk.fill(leaving=blocks * BLOCK)
        try:
            codes.append(code_of(call))
            # A background thread can have a temporary file for a moment too.
            with suppress(AssertionError):  # the next line reports the files
                wait_until(lambda: not full.left())
            assert full.left() == [], blocks
        finally:
            full.disk.make_room()
        if codes[-1] is OK:
            return codes
        assert full.states() == before, blocks
        assert verify(full.katas).kinds() == [], blocks
    call()
    return codes


@pytest.mark.parametrize("way", WAYS)
def test_a_call_on_a_full_disk_leaves_nothing_half_written_and_succeeds_when_there_is_room(
    full: Full, way: str
) -> None:
    noise = {**FILES, "noise": os.urandom(24 * 1024)}
    codes: list[grpc.StatusCode] = []
    for _ in range(ATTEMPTS):
        codes = codes_of(full, getattr(Calls(full.katas, noise), way)())
        assert set(codes) <= {OK, EXHAUSTED}
        # A light that is missing in increments.json is added by the next light or listing.
        assert {kind for kind, _, _ in verify(full.katas, mend=True).kinds()} <= {"STALE"}
        assert verify(full.katas).kinds() == []
        for kata_id in full.states():
            full.katas.delete(kata_id)
        if EXHAUSTED in codes:
            break
    assert EXHAUSTED in codes


def test_a_full_disk_is_the_reason_why_a_long_history_is_not_packed(tmp_path: Path) -> None:
    kata = Kata.detached(tmp_path / "disk", "0123456789")
    with a_disk(kata.folder, 16 * MIB) as disk:
        (kata.folder / "whale").mkdir()
        recorder = Recorder.create(kata.folder / "whale", kata.kata_id, "whale")
        tip = None
        for number in range(120):
            light = Light(number=number, colour="red", time=STARTED)
            tip = recorder.record(light, Submission({"a.txt": b"%d" % number}), tip)
        refusals = 0
        for blocks in range(64):
            disk.fill(leaving=blocks * BLOCK)
            try:
                with durable.translate_disk_errors(), pack_objects(kata, {}):
                    pass
            except DiskFull:
                refusals += 1
            disk.make_room()
        assert 0 < refusals < 64


def test_a_kata_can_be_deleted_from_a_full_disk(full: Full) -> None:
    kata_id = full.katas.started("whale")
    full.disk.fill()
    try:
        full.katas.delete(kata_id)
        assert kata_id not in full.states()
    finally:
        full.disk.make_room()


def test_katas_on_a_full_disk_can_be_read(full: Full) -> None:
    katas = full.katas
    kata_id = katas.started("whale")
    katas.record(kata_id, "whale")
    full.disk.fill()
    try:
        assert len(katas.lights(kata_id, "whale")) == 2
        assert dict(katas.files(kata_id, "whale", 1).files) == FILES
        assert katas.tar(kata_id)
    finally:
        full.disk.make_room()
    katas.delete(kata_id)


def test_a_kata_with_many_files_can_be_downloaded_from_a_full_disk(full: Full) -> None:
    # Their names in git's index take more than what libgit2 writes at once.
    files = {f"{number:03}.txt": b"" for number in range(300)}
    kata_id = full.katas.started("whale", files={**FILES, **files})
    full.disk.fill()
    try:
        assert full.katas.tar(kata_id)
    finally:
        full.disk.make_room()
    full.katas.delete(kata_id)


def test_a_light_that_a_full_disk_kept_from_increments_json_is_listed(
    short_folder: Path,
    start_service: Callable[..., Service],
    start_storer: Callable[..., Service],
    client: Callable[[Service], Katas],
) -> None:
    def is_unlisted(service: Service) -> bool:
        return any(event["event"] == "not listed yet" for event in service.events())

    def assert_there(katas: Katas) -> None:
        assert [light.number for light in katas.lights(kata_id, "whale")] == numbers
        assert dict(katas.files(kata_id, "whale").files) == noisy
        assert katas.tar(kata_id)

    with (
        a_disk(short_folder / "data", 160 * MIB) as disk,
        storer_on(short_folder, start_service) as (own, service),
    ):
        katas = client(service)
        kata_id = katas.started("whale")
        other, later = (start_storer(DOCKER_HOST=own.url) for _ in range(2))
        assert len(client(other).lights(kata_id, "whale")) == 1
        token = backup(katas).token
        numbers = [0]
        for blocks in range(256):
            noisy = {**FILES, "noise": os.urandom(24 * 1024)}
            disk.fill(leaving=blocks * BLOCK)
            if code_of(partial(katas.record, kata_id, "whale", noisy)) is OK:
                numbers.append(len(numbers))
                if is_unlisted(service):
                    break
            disk.make_room()
        assert is_unlisted(service)
        disk.fill()
        for each in (service, other, later):
            assert_there(client(each))
        service.kill()
        assert_there(client(start_storer(DOCKER_HOST=own.url)))
        disk.make_room()
        katas = client(later)
        assert list(backup(katas, since_token=token).states) == [kata_id]
        assert katas.record(kata_id, "whale").number == len(numbers)
        (whale,) = (short_folder / "data/volumes").glob(f"*-kata-{kata_id}/_data/whale")
        listed = json.loads((whale / "increments.json").read_bytes())
        assert [light["number"] for light in listed] == [*numbers[1:], len(numbers)]


def test_restores_leave_room_for_other_calls(full: Full) -> None:
    katas = full.katas
    kata_id, other = katas.started("whale"), katas.started("whale")
    tar = katas.tar(kata_id).removesuffix(snapshot.END)
    katas.delete(kata_id)
    header = tarfile.TarInfo(f"{kata_id[:2]}/{kata_id[2:]}/whale/sandbox/large")
    header.size = 1024 * MIB
    begin = tar + header.tobuf()

    def requests() -> Iterator[storer_pb2.RestoreKataRequest]:
        yield storer_pb2.RestoreKataRequest(header=storer_pb2.RestoreKataHeader())
        for piece in rechunk([begin]):
            yield storer_pb2.RestoreKataRequest(data=piece)
        for _ in range(1024):
            yield storer_pb2.RestoreKataRequest(data=os.urandom(MIB))

    with refused(EXHAUSTED, says="for other calls"):
        katas.stub.RestoreKata(requests())
    katas.record(other, "whale", {"noise": os.urandom(100_000)})
    wait_until(lambda: not full.left())
