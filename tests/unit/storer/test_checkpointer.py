"""Logs that another process left are rewritten, then emptied; nothing else is changed."""

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from dojo import avatars, locks
from dojo.errors import KataDamaged
from storer.fs.checkpointer import Checkpointer
from storer.fs.write_ahead_log import WriteAheadLog
from storer.kata import avatar
from storer.kata.avatar import Avatar
from storer.kata.light import Light, Submission
from storer.kata.lights import LightsCache
from support.storer.storing import STARTED

ID = "0123456789"
FILES = {"a.txt": b"a"}

Start = Callable[..., Path]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts avatars in a kata's folder without a checkpoint; returns the folder."""

    def start(*names: str, kata: str = "kata") -> Path:
        folder = tmp_path / kata
        for name in names:
            (folder / name).mkdir(parents=True)
            avatar.start(folder / name, ID, name, FILES, STARTED)
        return folder

    return start


def open_(kata: Path, checkpointer: Checkpointer, name: str = "whale") -> Avatar:
    return Avatar(
        *(kata / name, ID, name, lambda: STARTED), cache=LightsCache(), checkpointer=checkpointer
    )


def is_empty(kata: Path, name: str = "whale") -> bool:
    return not WriteAheadLog(kata / name).read_position().used


def record(opened: Avatar, content: bytes) -> None:
    light = Light(number=0, colour="red", time=STARTED)
    opened.record(light, Submission({"a.txt": content}), None)


def numbers(kata: Path) -> list[int]:
    return [light.number for light in open_(kata, Checkpointer()).lights()]


def files_of(kata: Path) -> dict[str, tuple[int, bytes]]:
    found = [path for path in kata.rglob("*") if path.is_file()]
    return {str(path.relative_to(kata)): (path.stat().st_ino, path.read_bytes()) for path in found}


def test_a_log_that_another_process_left_is_rewritten_and_then_emptied(
    start: Start,
) -> None:
    kata = start("whale")
    checkpointer = Checkpointer()
    open_(kata, checkpointer).lights()
    before = files_of(kata)
    checkpointer.checkpoint()
    after = files_of(kata)
    assert is_empty(kata)
    objects = [name for name in before if "/objects/" in name]
    assert objects
    for name in [*objects, "whale/.git/refs/tags/0", "whale/increments.json"]:
        assert after[name][0] != before[name][0]
        assert after[name][1] == before[name][1]
    assert numbers(kata) == [0]


def test_what_is_rewritten_after_a_failure_has_no_block_of_before(start: Start) -> None:
    kata = start("whale")
    checkpointer = Checkpointer()
    for content in (b"1", b"2", b"3"):
        record(open_(kata, checkpointer), content)
    again = Checkpointer()
    open_(kata, again).lights()
    before = files_of(kata)
    with ExitStack() as opened:
        for name in before:  # the number of an open file is given to no other
            opened.enter_context((kata / name).open("rb"))
        again.checkpoint()
        record(open_(kata, again), b"4")
        after = files_of(kata)
    rewritten = ("HEAD", "config", "info/exclude", "refs/heads/main", "refs/tags/0")
    inodes = {inode for inode, _ in before.values()}
    for name in ("manifest.json", "increments.json", *(f".git/{each}" for each in rewritten)):
        assert after[f"whale/{name}"][0] not in inodes, name
    assert json.loads(after["whale/manifest.json"][1]) == {"a.txt": "4"}


def test_lists_that_are_written_after_a_checkpoint_began_are_synced(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    kata = start("whale")
    checkpointer = Checkpointer()
    record(open_(kata, checkpointer), b"1")
    (kata / "whale/increments.json").write_bytes(b"[]")  # as a disk that was full leaves it
    synced, sync = [], os.fsync

    def recording_sync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", recording_sync)
    with locks.locked(kata / "whale"):
        open_(kata, checkpointer).write_derived_files()
    assert kata / "whale/.manifest.json.new" in synced


def test_several_threads_make_checkpoints_at_once(start: Start) -> None:
    kata = start(*avatars.NAMES[:16])
    checkpointer = Checkpointer()
    for name in avatars.NAMES[:16]:
        open_(kata, checkpointer, name).lights()
    with ThreadPoolExecutor(4) as threads:
        for each in [threads.submit(checkpointer.checkpoint) for _ in range(8)]:
            each.result()
    assert all(is_empty(kata, name) for name in avatars.NAMES[:16])


def test_a_kata_that_replaced_another_is_not_changed(start: Start) -> None:
    kata, other = start("whale"), start("whale", kata="other")
    checkpointer, others = Checkpointer(), Checkpointer()
    open_(kata, checkpointer).lights()
    record(open_(other, others), b"other")
    others.checkpoint()
    (other / "whale/.journal").unlink()
    (other / "whale/sandbox/product").write_bytes(b"of an earlier run")
    shutil.rmtree(kata)
    shutil.copytree(other, kata)
    before = files_of(kata)
    checkpointer.checkpoint()
    assert files_of(kata) == before


def test_nothing_is_written_while_a_kata_is_replaced_or_deleted(start: Start) -> None:
    kata = start("whale")
    checkpointer = Checkpointer()
    open_(kata, checkpointer).lights()
    with locks.locked(kata):
        before = files_of(kata)
        checkpointer.checkpoint()
        assert files_of(kata) == before
    checkpointer.checkpoint()
    assert is_empty(kata)


def test_a_damaged_avatar_keeps_its_log_and_does_not_hold_up_others(start: Start) -> None:
    kata = start("bear", "whale")
    checkpointer = Checkpointer()
    for name in ("bear", "whale"):
        open_(kata, checkpointer, name).lights()
    (kata / "bear/.git/objects").rename(kata / "bear/.git/moved")
    (kata / "bear/.git/objects").write_bytes(b"")
    for _ in range(2):
        checkpointer.checkpoint()
    assert not is_empty(kata, "bear")
    assert is_empty(kata)


def test_a_sandbox_in_use_by_a_run_is_not_changed(start: Start) -> None:
    kata = start("whale")
    checkpointer = Checkpointer()
    open_(kata, checkpointer).lights()
    sandbox = kata / "whale/sandbox"
    with locks.locked(sandbox):  # as the runner holds it
        (sandbox / "a.txt").write_bytes(b"of the run")
        inode = sandbox.stat().st_ino
        checkpointer.checkpoint()
    assert sandbox.stat().st_ino == inode
    assert (sandbox / "a.txt").read_bytes() == b"of the run"


def test_a_tag_that_names_no_commit_is_no_light(start: Start) -> None:
    kata = start("whale")
    (kata / "whale/.git/refs/tags/1").write_bytes(bytes(41))
    assert numbers(kata) == [0]
    record(open_(kata, Checkpointer()), b"new")
    assert numbers(kata) == [0, 1]


def test_a_light_without_its_tag_is_damage(start: Start) -> None:
    kata = start("whale")
    checkpointer = Checkpointer()
    open_(kata, checkpointer).lights()
    checkpointer.checkpoint()
    os.truncate(kata / "whale/.git/refs/tags/0", 0)
    with pytest.raises(KataDamaged):
        numbers(kata)


def test_a_checkpointer_that_stops_empties_all_logs(start: Start) -> None:
    kata = start("whale")
    checkpointer = Checkpointer()
    checkpointer.start()
    record(open_(kata, checkpointer), b"new")
    checkpointer.stop()
    assert is_empty(kata)
    assert numbers(kata) == [0, 1]


def test_entries_of_another_storer_are_replayed_before_lights_are_read(start: Start) -> None:
    kata = start("whale")
    ours, theirs = Checkpointer(), Checkpointer()
    record(open_(kata, ours), b"ours")
    assert not ours.is_foreign(kata / "whale")
    record(open_(kata, theirs), b"theirs")
    assert ours.is_foreign(kata / "whale")
    assert [light.number for light in open_(kata, ours).lights()] == [0, 1, 2]
    assert not ours.is_foreign(kata / "whale")
    theirs.checkpoint()
    assert is_empty(kata)
