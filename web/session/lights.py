"""Lights as plain values, for pages and pictures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from cyberdojo.storer.v1 import storer_pb2
from web.streams.told import COLOURS

WORDS = {
    "start": "start",
    "red": "red",
    "amber": "amber",
    "green": "green",
    "timed_out": "timed out",
    "faulty": "faulty",
}
"""The colours for people."""


@dataclass(frozen=True)
class Light:
    """A light. Its `colour` is `start` for light 0 alone; `time` is in seconds since the epoch.

    `passed` and `tests` are the counts of tests, `added` and `deleted` those of lines; all are None
    where they are not known. `predicted` is empty if nobody said a colour before.
    """

    number: int
    colour: str
    time: float
    passed: int | None = None
    tests: int | None = None
    added: int | None = None
    deleted: int | None = None
    predicted: str = ""
    source: str = ""

    @property
    def word(self) -> str:
        """The colour for people."""
        return WORDS.get(self.colour, self.colour)

    @property
    def iso(self) -> str:
        """The time for HTML, in UTC: `2026-11-28T16:22:18Z`."""
        return f"{datetime.fromtimestamp(self.time, UTC):%Y-%m-%dT%H:%M:%SZ}"

    @property
    def sentence(self) -> str:
        """All that is known of it, for people: `3: green, 5 of 5 tests passed, +2 -1 lines`."""
        said = [f"{self.number}: {self.word}"]
        if self.tests is not None:
            said.append(f"{self.passed} of {self.tests} tests passed")
        if self.added is not None or self.deleted is not None:
            said.append(f"+{self.added or 0} -{self.deleted or 0} lines")
        if self.predicted:
            said.append(f"predicted {WORDS.get(self.predicted, self.predicted)}")
        if self.source:
            said.append(f"files of {self.source}")
        return ", ".join(said)


def plain_light(light: storer_pb2.Light, kata_id: str = "") -> Light:
    """Return a light of the storer's; `kata_id` is the kata that its sources are told from."""
    has_counts = light.HasField("test_counts")
    counts = light.test_counts
    source = ""
    if light.HasField("source"):
        elsewhere = "" if light.source.kata_id == kata_id else f"{light.source.kata_id} "
        source = f"{elsewhere}{light.source.avatar} {light.source.light_number}"
    return Light(
        number=light.number,
        colour=COLOURS.get(light.colour, "faulty"),
        time=light.time.ToNanoseconds() / 1e9,
        passed=counts.passed if has_counts else None,
        tests=counts.passed + counts.failed + counts.errors if has_counts else None,
        added=light.added_lines if light.HasField("added_lines") else None,
        deleted=light.deleted_lines if light.HasField("deleted_lines") else None,
        predicted=COLOURS.get(light.predicted, "") if light.predicted else "",
        source=source,
    )


def plain_lights(lights: Iterable[storer_pb2.Light], kata_id: str = "") -> list[Light]:
    """Return several, in their order."""
    return [plain_light(light, kata_id) for light in lights]
