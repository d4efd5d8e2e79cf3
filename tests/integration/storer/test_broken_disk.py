"""A disk that fails to write loses nothing that was acknowledged.

The kernel reports a failed write once and does not retry it. From then on the data in its memory
seems to be on disk, and is lost with the power, or when the memory is needed.
"""

import json
import os
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from cyberdojo.storer.v1 import storer_pb2
from storer.fs import durable
from storer.fs.write_ahead_log import Entry, WriteAheadLog
from storer.kata.recorder import BRANCH, EXCLUDED
from support.services import Service, wait_until
from support.storer.disks import MIB, a_losing_disk, mounted, storer_on
from support.storer.storing import FILES, Katas
from support.storer.verifying import verify

DISK_BYTES = 400 * MIB
KIND = "ext4"

# Random, so that MARK is on disk as it is: zlib can't compress it.
NOISE = os.urandom(24 * 1024)
MARK = NOISE[9000:9032]
# As it is, it is in manifest.json alone: git's objects and the write-ahead log are compressed.
TEXT = b"int never_written;"


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param((MARK, 1), id="object"),  # the write-ahead log is written
        pytest.param((f"ref: {BRANCH}".encode(), 0), id="HEAD"),
        pytest.param((EXCLUDED.encode(), 0), id="exclude"),
        pytest.param((TEXT, 0), id="manifest"),
    ],
)
@pytest.mark.parametrize("is_killed", [False, True])
def test_a_light_that_the_disk_could_not_write_is_written_again(
    short_folder: Path,
    start_service: Callable[..., Service],
    start_storer: Callable[..., Service],
    client: Callable[[Service], Katas],
    broken: tuple[bytes, int],
    *,
    is_killed: bool,
) -> None:
    assert MARK in zlib.compress(b"blob %d\0" % len(NOISE) + NOISE, 1)
    own, again, image = short_folder / "own", short_folder / "again", short_folder / "cut"
    own.mkdir()
    files = {**FILES, "noise": NOISE, "text": TEXT}
    later = {**FILES, "text": TEXT[1:]}
    with (
        a_losing_disk(own / "data", DISK_BYTES, KIND) as disk,
        storer_on(own, start_service) as (engine, service),
    ):
        katas = client(service)
        disk.break_(*broken)
        kata_id = katas.started("whale")
        assert katas.record(kata_id, "whale", files).number == 1
        (whale,) = (own / "data/volumes").glob(f"*-kata-{kata_id}/_data/whale")
        journal = WriteAheadLog(whale)
        service.wait_for_event(lambda event: event["event"] == "not synced")
        assert journal.read_position().used
        disk.mend()
        if is_killed:
            service.kill()
            assert journal.read_position().used
            katas = client(start_storer(DOCKER_HOST=engine.url))
        assert dict(katas.files(kata_id, "whale", 1).files) == files
        wait_until(lambda: not journal.read_position().used)
        assert katas.record(kata_id, "whale", later).number == 2
        wait_until(lambda: not journal.read_position().used)
        with closing(durable.FileSystem(whale)) as file_system:
            file_system.sync()  # else the power cut brings the log's entries back
        disk.cut(1, image)
    with mounted(image, again / "data", KIND), storer_on(again, start_service) as (_, service):
        katas = client(service)
        assert dict(katas.files(kata_id, "whale", 1).files) == files
        assert dict(katas.files(kata_id, "whale", 2).files) == later
        (whale,) = (again / "data/volumes").glob(f"*-kata-{kata_id}/_data/whale")
        assert (whale / ".git/HEAD").read_text() == f"ref: {BRANCH}\n"
        assert (whale / ".git/info/exclude").read_text() == EXCLUDED
        assert set(json.loads((whale / "manifest.json").read_bytes())) == set(later)
        # Whoever is killed may leave a file that is half written.
        harmless = {storer_pb2.FINDING_KIND_LEFTOVER} if is_killed else set()
        found = [each for each in verify(katas).findings if each.kind not in harmless]
        assert found == [], found
        assert katas.record(kata_id, "whale").number == 3


@pytest.mark.parametrize("before", [0, 1])
def test_an_entry_that_the_disk_could_not_write_is_none_after_a_power_cut_either(
    tmp_path: Path, before: int
) -> None:
    def append(number: int, content: bytes) -> None:
        log.append(Entry(number, f"{number:040x}", {"0" * 40: content}))

    refused, written = tmp_path / "refused", tmp_path / "written"
    with a_losing_disk(tmp_path / "data", DISK_BYTES, KIND) as disk:
        log = WriteAheadLog(tmp_path / "data")
        for number in range(before):
            append(number, b"")
        disk.break_(MARK)
        with pytest.raises(OSError, match="Input/output error"):
            append(before, NOISE)
        disk.cut(1, refused)
        disk.mend()
        append(before, NOISE)
        disk.cut(2, written)
    for image, entries in ((refused, before), (written, before + 1)):
        with mounted(image, tmp_path / "again", KIND):
            found = WriteAheadLog(tmp_path / "again").entries()
            assert [entry.number for entry in found] == [*range(entries)]
