"""The response of DiffLights."""

from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from itertools import accumulate

from cyberdojo.storer.v1 import storer_pb2
from storer.kata.diff import FileChange, FileDiff, LineChange, Run, count

_FILE_CHANGES = {
    FileChange.CREATED: storer_pb2.FILE_CHANGE_CREATED,
    FileChange.DELETED: storer_pb2.FILE_CHANGE_DELETED,
    FileChange.RENAMED: storer_pb2.FILE_CHANGE_RENAMED,
    FileChange.CHANGED: storer_pb2.FILE_CHANGE_CHANGED,
    FileChange.UNCHANGED: storer_pb2.FILE_CHANGE_UNCHANGED,
}
_LINE_CHANGES = {
    LineChange.SAME: storer_pb2.LINE_CHANGE_SAME,
    LineChange.ADDED: storer_pb2.LINE_CHANGE_ADDED,
    LineChange.DELETED: storer_pb2.LINE_CHANGE_DELETED,
}

# Lines with a lower number are prepared.
_PREPARED_LINES = 1024

# Most files of a light are unchanged, and are so again in the next comparison. The message of a
# file of nothing but line feeds takes ten times its bytes, so the cache takes 25 MiB at most.
_CACHED_FILES = 512
_CACHED_FILE_BYTES = 4096

# After so many lines a piece ends. Their messages take ten times the bytes of the piece.
_LINES_OF_A_PIECE = 10_000


def serialized(
    files: Iterable[FileDiff], *, changed_only: bool = False, counts_only: bool = False
) -> Iterator[bytes]:
    """Yield a serialized DiffLightsResponse with these files in pieces, which it is when joined.

    Unchanged files are left out if `changed_only`, and lines if `counts_only`.
    """
    made = storer_pb2.DiffLightsResponse()
    line_count = 0
    for file in files:
        is_unchanged = file.change is FileChange.UNCHANGED
        if is_unchanged and changed_only:
            continue
        is_cached = is_unchanged and not counts_only and len(file.new) <= _CACHED_FILE_BYTES
        if is_cached or line_count >= _LINES_OF_A_PIECE:
            yield made.SerializeToString()
            made = storer_pb2.DiffLightsResponse()
            line_count = 0
        if is_cached:
            yield _serialized_file(file)
        else:
            line_count += _add_file(made, file, with_lines=not counts_only)
    yield made.SerializeToString()


@lru_cache(_CACHED_FILES)
def _serialized_file(file: FileDiff) -> bytes:
    made = storer_pb2.DiffLightsResponse()
    _add_file(made, file, with_lines=True)
    return made.SerializeToString()


def _add_file(response: storer_pb2.DiffLightsResponse, file: FileDiff, *, with_lines: bool) -> int:
    """Add a file to a response; return how many lines it has."""
    runs = file.runs()
    message = response.files.add(
        change=_FILE_CHANGES[file.change],
        old_name=file.old_name,
        new_name=file.new_name,
        binary=file.binary,
        too_large=file.too_large,
        same_count=count(runs, LineChange.SAME),
        added_count=count(runs, LineChange.ADDED),
        deleted_count=count(runs, LineChange.DELETED),
    )
    for run in runs if with_lines else ():
        _add_lines(message, run)
    return len(message.lines)


def _add_lines(message: storer_pb2.FileDiff, run: Run) -> None:
    """Add a message for each line of a run."""
    first = max(run.old_number, run.new_number)
    end = first + len(run.lines)
    has_one_number = run.change is not LineChange.SAME or run.old_number == run.new_number
    if has_one_number and end <= _PREPARED_LINES:
        message.MergeFromString(_prepared(run.change).lines(first, end))
        for line, text in zip(message.lines[first - end :], run.lines, strict=True):
            line.text = text
    else:
        _add_one_by_one(message, run)
    if run.no_newline:
        message.lines[-1].no_newline = True


def _add_one_by_one(message: storer_pb2.FileDiff, run: Run) -> None:
    """Add the lines of a run field by field, which takes half the time of `add(text=...)`."""
    add, change = message.lines.add, _LINE_CHANGES[run.change]
    old_number, new_number = run.old_number, run.new_number
    for text in run.lines:
        line = add()
        line.change = change
        line.text = text
        if old_number:
            line.old_number = old_number
            old_number += 1
        if new_number:
            line.new_number = new_number
            new_number += 1


class _Prepared:
    """Lines of one change, numbered from 1 and without a text, serialized as part of a FileDiff.

    To parse them and set their texts takes half the time of setting all fields. The serialized
    elements of a repeated field follow each other, so any part of them is one of the message.
    """

    def __init__(self, change: LineChange) -> None:
        lines = [_serialized_line(change, number) for number in range(1, _PREPARED_LINES)]
        self._serialized = b"".join(lines)
        self._places = [0, *accumulate(map(len, lines))]

    def lines(self, first: int, end: int) -> bytes:
        """Return the lines from number `first` to the one before `end`."""
        return self._serialized[self._places[first - 1] : self._places[end - 1]]


def _serialized_line(change: LineChange, number: int) -> bytes:
    message = storer_pb2.FileDiff()
    old_number = 0 if change is LineChange.ADDED else number
    new_number = 0 if change is LineChange.DELETED else number
    _add_one_by_one(message, Run(change, old_number, new_number, [b""]))
    return message.SerializeToString()


@cache
def _prepared(change: LineChange) -> _Prepared:
    return _Prepared(change)
