"""The response of DiffLights has each line of each run, whether prepared, cached or neither."""

import pytest

from cyberdojo.storer.v1 import storer_pb2
from storer.api import diff_messages
from storer.kata.diff import FileChange, FileDiff, LineChange, Run

LAST = diff_messages._PREPARED_LINES - 1  # the last line that is prepared
CHANGES = {
    LineChange.SAME: storer_pb2.LINE_CHANGE_SAME,
    LineChange.ADDED: storer_pb2.LINE_CHANGE_ADDED,
    LineChange.DELETED: storer_pb2.LINE_CHANGE_DELETED,
}


def content(count: int) -> bytes:
    """Return lines of which the last has no line feed."""
    return b"\n".join(b"line \xff %d" % number for number in range(1, count + 1))


def lines_of(run: Run) -> list[storer_pb2.DiffLine]:
    """Return the lines that a run stands for."""
    made = [
        storer_pb2.DiffLine(
            change=CHANGES[run.change],
            old_number=run.old_number and run.old_number + place,
            new_number=run.new_number and run.new_number + place,
            text=text,
        )
        for place, text in enumerate(run.lines)
    ]
    made[-1].no_newline = run.no_newline
    return made


def answered(*files: FileDiff, **left_out: bool) -> list[storer_pb2.FileDiff]:
    serialized = b"".join(diff_messages.serialized(files, **left_out))
    return list(storer_pb2.DiffLightsResponse.FromString(serialized).files)


@pytest.mark.parametrize("number", [1, 2, 7, LAST - 2, LAST - 1, LAST, LAST + 1, LAST + 100])
@pytest.mark.parametrize("by", [b"", b"other\n", b"other\nlines\n"])
def test_each_line_has_its_text_and_its_numbers(number: int, by: bytes) -> None:
    old = content(LAST + 200)
    new = old.replace(b"line \xff %d\n" % number, by)
    file = FileDiff(FileChange.CHANGED, "a", "a", old, new)
    for answer in answered(file, file):
        assert list(answer.lines) == [line for run in file.runs() for line in lines_of(run)]
        assert answer.same_count == LAST + 199
        assert (answer.added_count, answer.deleted_count) == (by.count(b"\n"), 1)


def test_unchanged_files_are_answered_in_their_places_each_time() -> None:
    contents = {"a": b"one\n", "b": content(LAST + 1), "c": b"one\n", "d": b"", "e": b"a\0"}
    files = [
        FileDiff(FileChange.UNCHANGED, name, name, each, each, binary=b"\0" in each)
        for name, each in contents.items()
    ]
    for _ in range(2):
        found = answered(*files)
        assert [(file.old_name, file.new_name) for file in found] == [(n, n) for n in contents]
        assert [file.same_count for file in found] == [1, LAST + 1, 1, 0, 0]
        assert [file.binary for file in found] == [False, False, False, False, True]
        assert {line.change for file in found for line in file.lines} == {CHANGES[LineChange.SAME]}


def test_unchanged_files_and_lines_can_be_left_out() -> None:
    changed = FileDiff(FileChange.CHANGED, "a", "a", b"1\n2\n", b"1\n3\n4\n")
    unchanged = FileDiff(FileChange.UNCHANGED, "b", "b", b"1\n", b"1\n")
    files = [unchanged, changed, unchanged]
    whole = answered(*files)
    assert answered(*files, changed_only=True) == [whole[1]]
    without_lines = [storer_pb2.FileDiff.FromString(each.SerializeToString()) for each in whole]
    for each in without_lines:
        del each.lines[:]
    assert answered(*files, counts_only=True) == without_lines
    assert answered(*files, changed_only=True, counts_only=True) == [without_lines[1]]
    assert (without_lines[1].same_count, without_lines[1].added_count) == (1, 2)
