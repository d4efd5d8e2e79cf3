"""The cause of another colour: the first line of an output that explains it."""

import re
from collections.abc import Iterable, Iterator

SAME_OUTPUT = "the output is what it was"

_MAX_CHARACTERS = 160
# Words of lines that explain something, in the languages' own errors and the shell's.
_EXPLAINS = re.compile(
    r"error|exception|fail|fault|fatal|not found|no such|undefined|undeclared|unknown|unexpected"
    r"|cannot|can't|could not|unable|missing|invalid|expected|denied|panic|abort|killed",
    re.IGNORECASE,
)
# `hiker.cpp:12:5: `, `Hiker.cs(3,9): ` and the like, at the beginning of a line.
_PLACE = re.compile(r"^[^\s:(]+(?::\d+)+:?\s+|^[^\s:(]+\(\d+(?:,\d+)*\):?\s+")
_NUMBER = re.compile(r"\b(?:0x[0-9a-fA-F]+|\d+(?:\.\d+)*)\b")


def cause(now: str, recorded_output: str, stdout: str, stderr: str) -> str:
    """Return the first line that explains the colour `now`, where it is another than recorded.

    That is a line of today's output that was not recorded; of a light that is green now, a line
    that was recorded and is gone. A place in a file is left out and each number is an `N`, so that
    lights with the same cause have the same line. A line that names an error goes before others.
    """
    old, new = list(_lines(recorded_output)), [*_lines(stderr), *_lines(stdout)]
    if now == "green":
        gone = _first(old, new)
        return f"gone: {gone}" if gone else SAME_OUTPUT
    return _first(new, old) or SAME_OUTPUT


def _lines(output: str) -> Iterator[str]:
    """Yield the lines that are not empty, without what differs between lights of one cause."""
    for line in output.splitlines():
        text = _NUMBER.sub("N", _PLACE.sub("", " ".join(line.split())))
        if text:
            yield text[:_MAX_CHARACTERS]


def _first(lines: list[str], known: Iterable[str]) -> str:
    """Return the first line that is not known, rather one that explains; an empty one if none."""
    others = set(known)
    unknown = [line for line in lines if line not in others]
    return next((line for line in unknown if _EXPLAINS.search(line)), "".join(unknown[:1]))
