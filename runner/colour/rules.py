"""The rules that read a colour from a run's output: patterns, or a Ruby lambda."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import re2

from dojo import patterns, ruby_lambdas
from dojo.errors import InvalidArgument
from dojo.patterns import MAX_PATTERNS, BadPattern
from runner.colour.colour import Colour


class Stream(Enum):
    """The streams in which a pattern is searched for."""

    BOTH = "both"
    STDOUT = "stdout"
    STDERR = "stderr"


@dataclass(frozen=True)
class Pattern:
    """A regular expression, in RE2 syntax, and the colour of an output that matches it.

    `colour` and `stream` are None if the caller gave a value that is not allowed.
    """

    colour: Colour | None
    pattern: str
    stream: Stream | None = Stream.BOTH


class ColourPatterns:
    """Patterns, tried in order. Each takes time linear in the output."""

    def __init__(self, given: Sequence[Pattern], field: str) -> None:
        """Compile the patterns; raise InvalidArgument, naming the one below `field`."""
        if len(given) > MAX_PATTERNS:
            raise InvalidArgument(field, f"{len(given)} patterns are more than {MAX_PATTERNS}")
        self._patterns = [
            _compiled(pattern, f"{field}[{place}]") for place, pattern in enumerate(given)
        ]

    def colour(self, stdout: bytes, stderr: bytes) -> Colour:
        """Return the colour of the first pattern that matches; AMBER if none does."""
        streams = [(Stream.STDOUT, utf8(stdout)), (Stream.STDERR, utf8(stderr))]
        for colour, compiled, wanted in self._patterns:
            for stream, output in streams:
                if wanted in {Stream.BOTH, stream} and compiled.search(output) is not None:
                    return colour
        return Colour.AMBER


@dataclass(frozen=True)
class RubyLambda:
    """Ruby source code of a lambda; `runner.colour.lambda_evaluator` evaluates it."""

    source: str

    def check(self, field: str) -> "RubyLambda":
        """Return this rule; raise InvalidArgument, naming `field`, if it can't be one."""
        if (fault := ruby_lambdas.fault(self.source)) is not None:
            raise InvalidArgument(field, fault)
        return self


ColourRule = ColourPatterns | RubyLambda


def _compiled(pattern: Pattern, field: str) -> tuple[Colour, re2._Regexp, Stream]:
    if pattern.colour not in {Colour.RED, Colour.AMBER, Colour.GREEN}:
        raise InvalidArgument(f"{field}.colour", "is none of red, amber and green")
    if pattern.stream is None:
        raise InvalidArgument(f"{field}.stream", "is no stream")
    try:
        return pattern.colour, patterns.compiled(pattern.pattern), pattern.stream
    except BadPattern as error:
        raise InvalidArgument(f"{field}.pattern", str(error)) from None


def utf8(output: bytes) -> bytes:
    """Return the output with replacement characters for bytes that are not UTF-8.

    Otherwise RE2's `.` would not match them, and methods of Ruby's strings would raise.
    """
    return output.decode("utf-8", errors="replace").encode()
