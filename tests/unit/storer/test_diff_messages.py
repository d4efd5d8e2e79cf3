"""The response of DiffLights has each line of each run, however the lines got into it."""

from itertools import count

import pytest

from cyberdojo.storer.v1 import storer_pb2
from storer.api import diff_messages
from storer.kata.diff import FileChange, FileDiff, LineChange, Run

LAST = diff_messages._PREPARED_LINES - 1  # the last line that is prepared
TEXTS = [b"one", b"", b"\xff three"]
CHANGES = {
    LineChange.SAME: storer_pb2.LINE_CHANGE_SAME,
    LineChange.ADDED: storer_pb2.LINE_CHANGE_ADDED,
    LineChange.DELETED: storer_pb2.LINE_CHANGE_DELETED,
}


def lines_of(run: Run) -> list[storer_pb2.DiffLine]:
    """Return the lines that a run stands for."""
    numbers = [count(first) if first else iter([0] * 3) for first in run[1:3]]
    made = [
        storer_pb2.DiffLine(change=CHANGES[run.change], old_number=old, new_number=new, text=text)
        for text, old, new in zip(run.lines, *numbers, strict=False)
    ]
    made[-1].no_newline = run.no_newline
    return made


@pytest.mark.parametrize("first", [1, 2, 7, LAST - 2, LAST - 1, LAST, LAST + 1, 5000])
def test_a_line_has_its_text_and_numbers_wherever_it_is(first: int) -> None:
    runs = [
        Run(LineChange.SAME, first, first, TEXTS),
        Run(LineChange.DELETED, first, 0, TEXTS),
        Run(LineChange.ADDED, 0, first, TEXTS),
        Run(LineChange.SAME, first, first + 1, TEXTS, no_newline=True),
    ]
    files = [FileDiff(FileChange.CHANGED, name, name, runs=runs) for name in ("a", "b")]
    response = storer_pb2.DiffLightsResponse.FromString(b"".join(diff_messages.serialized(files)))
    expected = [line for run in runs for line in lines_of(run)]
    assert [list(file.lines) for file in response.files] == [expected, expected]
    assert [file.same_count for file in response.files] == [6, 6]
