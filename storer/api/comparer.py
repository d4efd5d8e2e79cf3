"""The process that compares two large lights for a storer, and ends.

`python -m storer.api.comparer PARENT MAX_BYTES` reads a comparison from standard input and writes
the answer to standard output. It may use `MAX_BYTES` of memory, and dies with its parent. The
parent ends a process that exceeds these bytes; the kernel refuses it twice as many.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import BinaryIO

from dojo import process_main
from storer.api import diff_messages
from storer.git import libgit2
from storer.kata import diff
from storer.kata.diff import Comparison

# The exit status of a process that would need more memory than it may use.
TOO_LARGE = 3


class Output(Enum):
    """What a comparison becomes."""

    LINES = "lines"
    CHANGED_LINES = "lines of changed files"
    COUNTS = "counts"
    CHANGED_COUNTS = "counts of changed files"
    PATCH = "patch"


# By `changed_only` and `counts_only` of a DiffLightsRequest.
DIFF_OUTPUTS = {
    (False, False): Output.LINES,
    (True, False): Output.CHANGED_LINES,
    (False, True): Output.COUNTS,
    (True, True): Output.CHANGED_COUNTS,
}


def _diff_answer(
    *, changed_only: bool, counts_only: bool
) -> Callable[[Comparison], Iterator[bytes]]:
    return lambda compared: diff_messages.serialized(
        diff.diff(compared), changed_only=changed_only, counts_only=counts_only
    )


# Each yields the pieces of an answer: a serialized DiffLightsResponse, a unified patch.
_ANSWERS: Mapping[Output, Callable[[Comparison], Iterator[bytes]]] = {
    **{
        output: _diff_answer(changed_only=changed_only, counts_only=counts_only)
        for (changed_only, counts_only), output in DIFF_OUTPUTS.items()
    },
    Output.PATCH: diff.patch,
}


def answer(output: Output, compared: Comparison) -> Iterator[bytes]:
    """Compare; yield the answer in pieces."""
    return _ANSWERS[output](compared)


def write(file: BinaryIO, output: Output, compared: Comparison) -> None:
    """Write a comparison for a process to read: a line of JSON, then all contents, each once."""
    places: dict[bytes, int] = {}
    lights = [
        {name: places.setdefault(content, len(places)) for name, content in files.items()}
        for files in compared
    ]
    head = {"output": output.value, "sizes": [len(each) for each in places], "lights": lights}
    file.write(json.dumps(head).encode() + b"\n")
    file.writelines(places)
    file.flush()


def read(file: BinaryIO) -> tuple[Output, Comparison]:
    """Return what `write` wrote."""
    head = json.loads(file.readline())
    contents = [file.read(size) for size in head["sizes"]]
    lights = ({name: contents[at] for name, at in files.items()} for files in head["lights"])
    return Output(head["output"]), Comparison(*lights)


def main() -> None:
    """Answer one comparison."""
    parent, max_bytes = map(int, sys.argv[1:])
    process_main.confine(parent, max_bytes)
    try:
        libgit2.configure()
        for piece in answer(*read(sys.stdin.buffer)):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    except MemoryError:
        sys.exit(TOO_LARGE)


if __name__ == "__main__":
    main()
