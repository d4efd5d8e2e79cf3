"""Differences of two lights: all lines of both, each once, and renamed files found."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storer.fs.checkpointer import Checkpointer
from storer.kata import diff
from storer.kata.avatar import Avatar
from storer.kata.diff import FileChange, FileDiff, LineChange
from storer.kata.edit import At
from storer.kata.light import Light, Submission
from storer.kata.lights import INCREMENTS, LightsCache
from storer.kata.recorder import Recorder
from support.storer.storing import STARTED, git

ID = "7C4E19D2B6"
Files = dict[str, bytes]
Differ = Callable[[Files, Files], Avatar]


def recorded(folder: Path, was: Files, now: Files) -> Avatar:
    """Return an avatar with two lights, that have these files."""
    folder.mkdir()
    history = Recorder.create(folder, ID, "whale")
    tip = None
    for number, files in enumerate((was, now)):
        colour = "red" if number else ""
        tip = history.record(Light(number, colour, STARTED), Submission(files), tip)
    (folder / INCREMENTS).write_text("[]")
    return Avatar(
        folder, ID, "whale", lambda: STARTED, cache=LightsCache(), checkpointer=Checkpointer()
    )


def differing(folder: Path, was: Files, now: Files) -> list[FileDiff]:
    return list(diff.diff(diff.read(recorded(folder / "whale", was, now), At(0), At(1))))


def content(runs: list[diff.Run], side: LineChange) -> bytes:
    """Return the old or the new content: the lines that are the same, and those of one side."""
    kept = [run for run in runs if run.change in (LineChange.SAME, side)]
    lines = b"".join(line + b"\n" for run in kept for line in run.lines)
    return lines[:-1] if kept and kept[-1].no_newline else lines


def numbers(starts: list[tuple[int, int]]) -> list[int]:
    """Return the numbers of lines, of runs that begin at a number and have so many; 0 is none."""
    return [start + step for start, count in starts if start for step in range(count)]


text = st.lists(st.sampled_from([b"a", b"b", b"", b"c\r"]), max_size=8).map(b"\n".join)


@settings(max_examples=60)
@given(was=text, now=text)
def test_the_lines_of_a_file_are_those_of_both_lights_each_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, was: bytes, now: bytes
) -> None:
    (file,) = differing(tmp_path_factory.mktemp("a"), {"a": was}, {"a": now})
    assert file.change is (FileChange.UNCHANGED if was == now else FileChange.CHANGED)
    assert content(file.runs(), LineChange.DELETED) == was
    assert content(file.runs(), LineChange.ADDED) == now
    old = numbers([(run.old_number, len(run.lines)) for run in file.runs()])
    new = numbers([(run.new_number, len(run.lines)) for run in file.runs()])
    assert old == list(range(1, len(old) + 1))
    assert new == list(range(1, len(new) + 1))


files = st.dictionaries(st.sampled_from(["a", "b/c", "d.sh", "ü"]), text, max_size=4)


@settings(max_examples=40)
@given(was=files, now=files)
def test_every_file_is_told_once_and_plain_git_applies_the_patch(
    tmp_path_factory: pytest.TempPathFactory, was: Files, now: Files
) -> None:
    top = tmp_path_factory.mktemp("files")
    compared = diff.read(recorded(top / "whale", was, now), At(0), At(1))
    found = list(diff.diff(compared))
    assert sorted(file.old_name for file in found if file.old_name) == sorted(was)
    assert sorted(file.new_name for file in found if file.new_name) == sorted(now)
    for name, old in was.items():
        (top / "old" / name).parent.mkdir(parents=True, exist_ok=True)
        (top / "old" / name).write_bytes(old)
    patch = b"".join(diff.patch(compared))
    if patch:
        (top / "old").mkdir(exist_ok=True)
        git(top / "old", "apply", "-p1", "--whitespace=nowarn", "-", text=patch)
    applied = {
        str(path.relative_to(top / "old")): path.read_bytes()
        for path in (top / "old").rglob("*")
        if path.is_file()
    }
    assert applied == now


LONG = b"".join(b"line %d\n" % number for number in range(30))


def test_a_renamed_file_is_told_as_one_with_its_changes(tmp_path: Path) -> None:
    (file,) = differing(tmp_path, {"old.c": LONG}, {"new.c": LONG.replace(b"line 7\n", b"seven\n")})
    assert (file.change, file.old_name, file.new_name) == (FileChange.RENAMED, "old.c", "new.c")
    changes = (LineChange.ADDED, LineChange.DELETED)
    assert [diff.count(file.runs(), change) for change in changes] == [1, 1]


def test_files_that_have_nothing_in_common_are_one_deleted_and_one_created(tmp_path: Path) -> None:
    found = differing(tmp_path, {"old.c": LONG}, {"new.c": b"nothing\n" * 30})
    assert [(file.change, file.old_name, file.new_name) for file in found] == [
        (FileChange.CREATED, "", "new.c"),
        (FileChange.DELETED, "old.c", ""),
    ]


@pytest.mark.parametrize("place", [0, 20_000])
def test_a_nul_anywhere_makes_a_file_binary(tmp_path: Path, place: int) -> None:
    (file,) = differing(tmp_path, {"a": b"x\n" * 20_000}, {"a": b"x" * place + b"\0"})
    assert (file.binary, file.runs()) == (True, [])


@pytest.mark.parametrize("now", [b"x", b""])
def test_an_end_of_the_last_line_that_came_or_went_is_a_change(tmp_path: Path, now: bytes) -> None:
    (file,) = differing(tmp_path, {"a": b"x\n"}, {"a": now})
    assert file.change is FileChange.CHANGED
    assert any(run.no_newline for run in file.runs()) == bool(now)
