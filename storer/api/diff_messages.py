"""The response of DiffLights."""

from collections.abc import Iterable, Iterator

from cyberdojo.storer.v1 import storer_pb2
from storer.kata.diff import FileChange, FileDiff, LineChange, Run

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


# After so many lines a piece ends. Their messages take ten times the bytes of the piece.
_LINES_OF_A_PIECE = 10_000


def serialized(files: Iterable[FileDiff]) -> Iterator[bytes]:
    """Yield a serialized DiffLightsResponse with these files in pieces, which it is when joined."""
    made = storer_pb2.DiffLightsResponse()
    line_count = 0
    for file in files:
        message = made.files.add(
            change=_FILE_CHANGES[file.change],
            old_name=file.old_name,
            new_name=file.new_name,
            binary=file.binary,
            too_large=file.too_large,
            same_count=file.count(LineChange.SAME),
            added_count=file.count(LineChange.ADDED),
            deleted_count=file.count(LineChange.DELETED),
        )
        for run in file.runs:
            _add_lines(message, run)
        line_count += len(message.lines)
        if line_count >= _LINES_OF_A_PIECE:
            yield made.SerializeToString()
            made = storer_pb2.DiffLightsResponse()
            line_count = 0
    yield made.SerializeToString()


def _add_lines(message: storer_pb2.FileDiff, run: Run) -> None:
    """Add a message for each line of a run: field by field, in half the time of `add(text=...)`."""
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
    if run.no_newline:
        message.lines[-1].no_newline = True
