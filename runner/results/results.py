"""What became of each test of a run, bounded in number and size.

The readers of the formats give tests to a `Collector`, which keeps some and counts all.
"""

import math
from dataclasses import dataclass, field
from enum import Enum

MAX_TESTS = 1000
MAX_NAME = 255
MAX_MESSAGE = 2000
# All messages together.
MAX_MESSAGES = 256 * 1024
# A test can't have taken longer than its run may. What says so is no duration.
_MAX_SECONDS = 3600.0


class Malformed(Exception):
    """The file is in none of the formats; the message says why."""


class Status(Enum):
    """What became of a test."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class TestResult:
    """One test. `group` is the class or file that it is in, "" if the file tells none.

    `seconds` is None if the file does not tell it. `message` says why it did not pass.
    """

    __test__ = False  # it is no test of this project

    name: str
    status: Status
    group: str = ""
    seconds: float | None = None
    message: str = ""


@dataclass(frozen=True)
class Results:
    """The tests in the order of the file, at most MAX_TESTS, and how many there are of each status.

    `message` is about all of them. `fault` says why there are none, though a file was named.
    """

    tests: tuple[TestResult, ...] = ()
    counts: dict[Status, int] = field(default_factory=dict)
    message: str = ""
    fault: str = ""

    @property
    def is_truncated(self) -> bool:
        """Whether there were more tests than are told."""
        return sum(self.counts.values()) > len(self.tests)


class Collector:
    """Collects the tests of one file, in its order, and cuts off what is too long."""

    def __init__(self) -> None:
        self._tests: list[TestResult] = []
        self._counts = dict.fromkeys(Status, 0)
        self._room = MAX_MESSAGES

    def add(
        self,
        name: str,
        status: Status,
        *,
        group: str = "",
        seconds: float | None = None,
        message: str = "",
    ) -> None:
        """Add a test."""
        self._counts[status] += 1
        if len(self._tests) >= MAX_TESTS:
            return
        told = text(message, min(MAX_MESSAGE, self._room))
        self._room -= len(told)
        known = seconds is not None and math.isfinite(seconds) and 0 <= seconds <= _MAX_SECONDS
        self._tests.append(
            TestResult(
                name=text(name, MAX_NAME),
                status=status,
                group=text(group, MAX_NAME),
                seconds=seconds if known else None,
                message=told,
            )
        )

    def results(self, message: str = "") -> Results:
        """Return what was added. `message` is about all tests."""
        return Results(tuple(self._tests), self._counts, text(message, MAX_MESSAGE))


def text(value: str, most: int) -> str:
    """Return the first `most` characters, without space around them, as text that is UTF-8."""
    return value.strip()[:most].encode("utf-8", "replace").decode()
