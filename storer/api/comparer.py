"""The process that compares two large lights for a storer, and ends.

`python -m storer.api.comparer PARENT MAX_BYTES` reads a comparison from standard input and writes
the answer to standard output. It may use `MAX_BYTES` of memory, and dies with its parent. The
parent ends a process that exceeds these bytes; the kernel refuses it twice as many.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import BinaryIO

from storer.api import diff_messages
from storer.git import libgit2
from storer.kata import diff
from storer.kata.diff import Comparison

# The exit status of a process that would need more memory than it may use.
TOO_LARGE = 3

_PR_SET_PDEATHSIG = 1
_NICENESS = 5  # the calls of others come first


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
    _confine(parent, max_bytes)
    try:
        libgit2.configure()
        for piece in answer(*read(sys.stdin.buffer)):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    except MemoryError:
        sys.exit(TOO_LARGE)


def _confine(parent: int, max_bytes: int) -> None:
    """Limit this process's memory, have the kernel kill it with its parent, and yield to others."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent died before the kernel was told
        sys.exit(1)
    resource.setrlimit(resource.RLIMIT_AS, (2 * max_bytes, 2 * max_bytes))
    # If all memory of the container is used up, the kernel kills this process, not the storer.
    Path("/proc/self/oom_score_adj").write_text("1000")
    os.nice(_NICENESS)


if __name__ == "__main__":
    main()
