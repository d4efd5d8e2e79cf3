"""Colours: what a run's output says about its tests, by the patterns of the start point."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import re2

from dojo.errors import InvalidArgument

MAX_PATTERNS = 32
MAX_PATTERN_BYTES = 1000
# For a compiled pattern and the states that it is in, which are dropped when there are more.
_MAX_PATTERN_MEMORY_BYTES = 2 * 1024 * 1024


class Colour(Enum):
    """What a run came to."""

    RED = "red"
    AMBER = "amber"
    GREEN = "green"
    TIMED_OUT = "timed_out"
    FAULTY = "faulty"


class Stream(Enum):
    """Where a pattern is looked for."""

    BOTH = "both"
    STDOUT = "stdout"
    STDERR = "stderr"


@dataclass(frozen=True)
class Pattern:
    """One regular expression, in RE2 syntax, and the colour that it stands for.

    `colour` is None where the caller gave something that is no colour of a pattern.
    """

    colour: Colour | None
    pattern: str
    stream: Stream | None = Stream.BOTH


class ColourRule:
    """Patterns tried in order, each in time linear in the output."""

    def __init__(self, patterns: Sequence[Pattern], field: str) -> None:
        """Compile the patterns; raise InvalidArgument, naming the one below `field`."""
        if len(patterns) > MAX_PATTERNS:
            raise InvalidArgument(field, f"{len(patterns)} patterns are more than {MAX_PATTERNS}")
        self._patterns = [
            _compiled(pattern, f"{field}[{place}]") for place, pattern in enumerate(patterns)
        ]

    def colour(self, stdout: bytes, stderr: bytes) -> Colour:
        """Return the colour of the first pattern that is found; AMBER if none is."""
        streams = [(Stream.STDOUT, _utf8(stdout)), (Stream.STDERR, _utf8(stderr))]
        for colour, compiled, wanted in self._patterns:
            for stream, output in streams:
                if wanted in {Stream.BOTH, stream} and compiled.search(output) is not None:
                    return colour
        return Colour.AMBER


def _compiled(pattern: Pattern, field: str) -> tuple[Colour, re2._Regexp, Stream]:
    if pattern.colour not in {Colour.RED, Colour.AMBER, Colour.GREEN}:
        raise InvalidArgument(f"{field}.colour", "is none of red, amber and green")
    if pattern.stream is None:
        raise InvalidArgument(f"{field}.stream", "is no stream")
    encoded = pattern.pattern.encode()
    if len(encoded) > MAX_PATTERN_BYTES:
        reason = f"{len(encoded)} bytes are more than {MAX_PATTERN_BYTES}"
        raise InvalidArgument(f"{field}.pattern", reason)
    if not encoded:
        raise InvalidArgument(f"{field}.pattern", "is empty, which every output matches")
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _MAX_PATTERN_MEMORY_BYTES
    try:
        return pattern.colour, re2.compile(pattern.pattern, options), pattern.stream
    except re2.error as error:
        reason = error.args[0]
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise InvalidArgument(f"{field}.pattern", text) from None


def _utf8(output: bytes) -> bytes:
    """Return the output with a replacement character for what is not UTF-8, as `.` wants it."""
    return output.decode("utf-8", errors="replace").encode()
