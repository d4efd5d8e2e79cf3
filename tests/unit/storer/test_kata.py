"""A kata's manifest.json: one call holds a large one at a time, and none for its time alone."""

import contextvars
import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dojo import limits, waits
from dojo.errors import KataDamaged, MemoryExhausted
from dojo.waits import CallWork
from storer.fs.checkpointer import Checkpointer
from storer.kata.edit import Edit
from storer.kata.kata import Kata
from storer.kata.light import Light, Submission
from storer.kata.lights import LightsCache
from storer.kata.recorder import Recorder

ID = "493A06504A"
CREATED = datetime(2020, 1, 1, tzinfo=UTC)
FILES = {"a": b""}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of a kata with a large manifest.json."""
    manifest = {
        "id": ID,
        "created": [2020, 1, 1, 0, 0, 0],
        "display_name": "C",
        "visible_files": {"a": "b" * limits.LARGE_JSON_BYTES},
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


def used(folder: Path, use: ExitStack) -> Kata:
    return Kata(folder, ID, LightsCache(), Checkpointer(), use)


def for_a_call(work: Callable[[], None]) -> None:
    """Do work that waits for a large manifest only for a moment."""

    def do() -> None:
        waits.work_for(CallWork(lambda: True, lock_seconds=0.1))
        work()

    contextvars.copy_context().run(do)


def test_an_edit_after_a_light_that_was_recorded_since_the_lights_were_read_is_left_out(
    folder: Path,
) -> None:
    whale = folder / "whale"
    whale.mkdir()
    recorder = Recorder.create(whale, ID, "whale")
    start = Light(0, "", CREATED)
    begun = recorder.record(start, Submission(FILES))
    recorder.record_edit(Edit(0, 1, CREATED), {**FILES, "b": b""}, begun)
    first = Light(1, "red", CREATED, duration=1.0, status=1)
    tip = recorder.record(first, Submission(FILES), begun)
    recorder.record_edit(Edit(1, 1, CREATED), {**FILES, "c": b""}, tip)
    with ExitStack() as use:
        kata = used(folder, use)
        for lights, expected in (((start,), [(0, 1)]), ((start, first), [(0, 1), (1, 1)])):
            found = kata.edits("whale", lights)
            assert [(each.number, each.minor) for each in found] == expected


@pytest.mark.timeout(60)  # nobody writes into the pipe
@pytest.mark.parametrize("is_pipe", [False, True])
def test_references_that_can_not_be_read_are_damage(folder: Path, *, is_pipe: bool) -> None:
    whale = folder / "whale"
    whale.mkdir()
    Recorder.create(whale, ID, "whale").record(Light(0, "", CREATED), Submission(FILES))
    packed = whale / ".git/packed-refs"
    if is_pipe:
        os.mkfifo(packed)
    else:
        packed.symlink_to(packed)
    with ExitStack() as use, pytest.raises(KataDamaged, match="packed-refs"):
        used(folder, use).avatar("whale").edits()


def test_one_call_holds_a_large_manifest_at_a_time(folder: Path) -> None:
    def read_two() -> None:
        with ExitStack() as first, ExitStack() as second:
            used(folder, first).read_manifest()
            with pytest.raises(MemoryExhausted):
                used(folder, second).read_manifest()
        with ExitStack() as third:
            used(folder, third).read_manifest()

    for_a_call(read_two)


def test_a_call_that_needs_the_time_alone_does_not_hold_a_large_manifest(folder: Path) -> None:
    def read_two() -> None:
        with ExitStack() as first, ExitStack() as second:
            kata = used(folder, first)
            assert kata.read_created() == CREATED
            used(folder, second).read_manifest()
            assert kata.read_created() == CREATED

    for_a_call(read_two)


def test_a_call_that_holds_a_large_manifest_reads_its_time_from_there(folder: Path) -> None:
    def read_both() -> None:
        with ExitStack() as use:
            kata = used(folder, use)
            kata.read_manifest()
            assert kata.read_created() == CREATED

    for_a_call(read_both)
