"""The results of a replay, counted by image and in total."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from replay.outcomes import COLOURS, Outcome, Ran, Skipped

FORMAT = "replay/1"
NO_IMAGE = "(no image is known)"


@dataclass
class ImageCount:
    """The lights of one image. `confusion` maps (recorded colour, colour now) to a count."""

    ran: int = 0
    same: int = 0
    confusion: Counter[tuple[str, str]] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    image_ids: set[str] = field(default_factory=set)
    differing: list[Ran] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
        if isinstance(outcome, Skipped):
            self.skipped.append(outcome)
            return
        self.ran += 1
        self.same += outcome.is_same
        self.confusion[outcome.recorded, outcome.now] += 1
        self.seconds.append(outcome.seconds)
        self.image_ids.add(outcome.image_id)
        if not outcome.is_same:
            self.differing.append(outcome)

    @property
    def lights(self) -> int:
        """How many lights there are, as far as their number is known."""
        return self.ran + sum(each.lights or 0 for each in self.skipped)

    def plus(self, other: "ImageCount") -> "ImageCount":
        """Return the sum of both counts."""
        return ImageCount(
            self.ran + other.ran,
            self.same + other.same,
            self.confusion + other.confusion,
            self.seconds + other.seconds,
            self.image_ids | other.image_ids,
            self.differing + other.differing,
            self.skipped + other.skipped,
        )


def count(outcomes: Iterable[Outcome]) -> dict[str, ImageCount]:
    """Return the counts by image, in the order of the images' names."""
    counts: dict[str, ImageCount] = defaultdict(ImageCount)
    for outcome in outcomes:
        counts[outcome.image_name or NO_IMAGE].add(outcome)
    return dict(sorted(counts.items()))


def total(counts: Iterable[ImageCount]) -> ImageCount:
    """Return the sum of all counts."""
    together = ImageCount()
    for each in counts:
        together = together.plus(each)
    return together


def same_percent(counted: ImageCount) -> float | None:
    """Return the percentage of the lights that ran with the recorded colour; None if none ran."""
    return 100 * counted.same / counted.ran if counted.ran else None


def ran_percent(counted: ImageCount) -> float:
    """Return the percentage of the lights that ran.

    What was skipped without its number of lights being known counts as one light.
    """
    unknown = sum(each.lights is None for each in counted.skipped)
    lights = counted.lights + unknown
    return 100 * counted.ran / lights if lights else 100


def percentile(values: Sequence[float], percent: int) -> float | None:
    """Return the smallest value that `percent` of the values do not exceed; None if none."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def to_json(counts: dict[str, ImageCount], katas: int, sources: list[str]) -> dict[str, Any]:
    """Return the report for JSON. Its seconds are those of the runs alone."""
    return {
        "format": FORMAT,
        "sources": sources,
        "katas": katas,
        "totals": _counted(total(counts.values())),
        "images": [{"image_name": name, **_counted(each, each)} for name, each in counts.items()],
    }


def _counted(counted: ImageCount, detailed: ImageCount | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "image_ids": sorted(counted.image_ids),
        "lights": counted.lights,
        "ran": counted.ran,
        "same": counted.same,
        "same_percent": same_percent(counted),
        "confusion": {
            recorded: {
                now: counted.confusion[recorded, now]
                for now in COLOURS
                if counted.confusion[recorded, now]
            }
            for recorded in recorded_colours(counted)
        },
        "seconds_p50": percentile(counted.seconds, 50),
        "seconds_p99": percentile(counted.seconds, 99),
    }
    if detailed is None:
        del found["image_ids"]
        return found
    found["differing"] = [
        {
            "kata_id": each.kata_id,
            "avatar": each.avatar,
            "number": each.number,
            "recorded": each.recorded,
            "now": each.now,
            "reason": each.reason,
            "status": each.status,
            "seconds": each.seconds,
            "max_seconds": each.max_seconds,
        }
        for each in detailed.differing
    ]
    found["skipped"] = [asdict(each) for each in detailed.skipped]
    return found


def recorded_colours(counted: ImageCount) -> list[str]:
    """Return the recorded colours that occur, in their usual order."""
    found = {recorded for recorded, _ in counted.confusion}
    return [each for each in (*COLOURS, "none") if each in found]
