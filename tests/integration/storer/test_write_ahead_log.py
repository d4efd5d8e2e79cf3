"""The write-ahead log: a light is in it, on disk, before git has it, and is replayed from it."""

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dojo import avatars
from storer.fs.write_ahead_log import POSITION_BYTES, WriteAheadLog
from support.services import Service, wait_until
from support.storer.storing import FILES, GREEN, Katas, git, unpacked

Client = Callable[[Service], Katas]
StartStorer = Callable[..., Service]
Folder = Callable[[str], Path]


def changed(number: int) -> dict[str, bytes]:
    return {**FILES, "hiker.c": b"%d" % number}


def lose(path: Path) -> None:
    """Leave a file as after a power cut: its name is there, its content is lost."""
    path.chmod(0o600)
    path.write_bytes(b"")


def objects(whale: Path) -> set[Path]:
    return {path for path in (whale / ".git/objects").rglob("*") if path.is_file()}


def assert_whole(katas: Katas, kata_id: str, whale: Path, lights: int) -> None:
    assert [light.number for light in katas.lights(kata_id, "whale")] == [*range(lights + 1)]
    for number in range(1, lights + 1):
        assert dict(katas.files(kata_id, "whale", number).files) == changed(number)
    git(whale, "fsck", "--strict", "--full")
    assert git(whale, "rev-parse", "HEAD") == git(whale, "rev-parse", f"refs/tags/{lights}")
    listed = json.loads((whale / "increments.json").read_bytes())
    assert [each["number"] for each in listed] == [*range(1, lights + 1)]
    now = json.loads((whale / "manifest.json").read_bytes())
    assert {name: text.encode() for name, text in now.items()} == changed(lights)


@pytest.mark.parametrize("how", ["objects", "tags", "branch", "lists", "everything"])
def test_lights_that_git_lost_with_the_machine_are_replayed(
    start_storer: StartStorer, client: Client, folder: Folder, how: str
) -> None:
    service = start_storer()
    katas = client(service)
    kata_id = katas.started("whale")
    whale = folder(kata_id) / "whale"
    before = objects(whale)
    for number in (1, 2, 3):
        katas.record(kata_id, "whale", changed(number))
    service.kill()
    assert WriteAheadLog(whale).read_position().used
    if how in {"objects", "everything"}:
        for number, path in enumerate(sorted(objects(whale) - before)):
            lose(path) if number % 2 else path.unlink()
    if how in {"tags", "everything"}:
        lose(whale / ".git/refs/tags/2")
        (whale / ".git/refs/tags/3").unlink()
    if how in {"branch", "everything"}:
        lose(whale / ".git/refs/heads/main")
    if how in {"lists", "everything"}:
        lose(whale / "increments.json")
        lose(whale / "manifest.json")
    katas = client(start_storer())
    assert_whole(katas, kata_id, whale, lights=3)
    assert katas.record(kata_id, "whale", changed(4), colour=GREEN).number == 4
    assert_whole(katas, kata_id, whale, lights=4)


def test_an_avatar_whose_files_were_lost_with_the_machine_is_replayed(
    start_storer: StartStorer, client: Client, folder: Folder
) -> None:
    service = start_storer()
    katas = client(service)
    kata_id = katas.started("whale")
    whale = folder(kata_id) / "whale"
    service.kill()
    for path in whale.rglob("*"):
        if path.is_file() and path.name not in {".journal", "hiker.c"}:
            lose(path) if path.name < "e" else path.unlink()
    katas = client(start_storer())
    assert dict(katas.files(kata_id, "whale", 0).files) == FILES
    assert {path.name: path.read_bytes() for path in (whale / "sandbox").iterdir()} == FILES
    assert (whale / "sandbox").stat().st_uid == avatars.uid("whale")
    assert katas.record(kata_id, "whale", changed(1)).number == 1
    assert_whole(katas, kata_id, whale, lights=1)


def test_a_truncated_entry_is_not_a_light(
    start_storer: StartStorer, client: Client, folder: Folder
) -> None:
    service = start_storer()
    katas = client(service)
    kata_id = katas.started("whale")
    whale = folder(kata_id) / "whale"
    sizes = []
    for number in (1, 2):
        katas.record(kata_id, "whale", changed(number))
        sizes.append(WriteAheadLog(whale).read_position().used)
    service.kill()
    with (whale / ".journal").open("r+b") as journal:
        journal.truncate(POSITION_BYTES + (sizes[0] + sizes[1]) // 2)
    (whale / ".git/refs/tags/2").unlink()
    listed = json.loads((whale / "increments.json").read_bytes())
    (whale / "increments.json").write_text(json.dumps(listed[:1]))
    service = start_storer()
    katas = client(service)
    assert_whole(katas, kata_id, whale, lights=1)
    before = objects(whale)
    assert katas.record(kata_id, "whale", changed(2)).number == 2
    service.kill()
    for path in objects(whale) - before:
        lose(path)
    assert_whole(client(start_storer()), kata_id, whale, lights=2)


def test_a_light_that_was_in_the_log_but_not_in_git_is_replayed(
    start_storer: StartStorer, client: Client, folder: Folder
) -> None:
    service = start_storer()
    katas = client(service)
    kata_id = katas.started("whale")
    whale = folder(kata_id) / "whale"
    katas.record(kata_id, "whale", changed(1), request_id="1")
    katas.record(kata_id, "whale", changed(2), request_id="2")
    service.kill()
    (whale / ".git/refs/tags/2").unlink()
    listed = json.loads((whale / "increments.json").read_bytes())
    (whale / "increments.json").write_text(json.dumps(listed[:1]))
    katas = client(start_storer())
    # A client that got no answer sends its request again, before any other call.
    assert katas.record(kata_id, "whale", changed(2), request_id="2").number == 2
    assert_whole(katas, kata_id, whale, lights=2)


def test_a_log_is_emptied_by_a_checkpoint(
    start_storer: StartStorer, client: Client, folder: Folder
) -> None:
    # A storer that has just started: the shared one can empty its logs at any moment.
    katas = client(start_storer())
    kata_id = katas.started("whale", "bear")
    journals = [WriteAheadLog(folder(kata_id) / name) for name in ("whale", "bear")]
    for name in ("whale", "bear"):
        katas.record(kata_id, name, changed(1))
    assert all(journal.read_position().used for journal in journals)
    wait_until(lambda: not any(journal.read_position().used for journal in journals))
    katas.record(kata_id, "whale", changed(2))
    assert len(katas.lights(kata_id, "whale")) == 3


def test_a_stopped_storer_leaves_empty_logs(
    start_storer: StartStorer, client: Client, folder: Folder
) -> None:
    service = start_storer()
    kata_id = client(service).started("whale", "bear")
    service.stop()
    for name in ("whale", "bear"):
        assert not WriteAheadLog(folder(kata_id) / name).read_position().used


def test_a_log_does_not_grow_without_limit(katas: Katas, folder: Folder) -> None:
    kata_id = katas.started("whale")
    journal = folder(kata_id) / "whale/.journal"
    largest = 0
    for _ in range(9):  # every third light makes a checkpoint, and a timer can make one more
        noise = os.urandom(1_600_000)
        katas.record(kata_id, "whale", {**FILES, "noise": noise})
        largest = max(largest, journal.stat().st_size)
    assert 4_000_000 < largest < 8_000_000


def test_a_kata_without_a_log_gets_one(katas: Katas, folder: Folder) -> None:
    kata_id = katas.started("whale")
    whale = folder(kata_id) / "whale"
    wait_until(lambda: not WriteAheadLog(whale).read_position().used)
    (whale / ".journal").unlink()
    katas.record(kata_id, "whale", changed(1))
    assert WriteAheadLog(whale).read_position().used
    assert_whole(katas, kata_id, whale, lights=1)


def test_a_download_has_no_log_and_a_clean_git_status(katas: Katas, tmp_path: Path) -> None:
    kata_id = katas.started("whale")
    for number in (1, 2):
        katas.record(kata_id, "whale", changed(number))
    whale = unpacked(katas.tar(kata_id), tmp_path, kata_id) / "whale"
    assert not (whale / ".journal").exists()
    (whale / "sandbox/hiker.c").write_bytes(b"2")  # a run would have written it
    assert not git(whale, "status", "--porcelain")
    assert git(whale, "log", "--format=%s").split(b"\n")[:2] == [b"2 red", b"1 red"]


def test_lights_are_read_by_one_storer_while_another_records(
    start_storer: Callable[..., Service], client: Callable[[Service], Katas]
) -> None:
    writer, reader = client(start_storer()), client(start_storer())
    kata_id = writer.started("whale")
    seen = 0
    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(lambda: [writer.record(kata_id, "whale") for _ in range(500)])
        while not writing.done():
            found = [light.number for light in reader.lights(kata_id, "whale")]
            assert found == [*range(len(found))]
            assert len(found) >= seen
            seen = len(found)
        assert len(writing.result()) == 500
    assert len(reader.lights(kata_id, "whale")) == 501
