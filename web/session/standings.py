"""How everybody stands: their lights, who has not pressed *test* for long, and what passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from web.session.lights import Light

QUIET_SECONDS = 600
"""Whoever has not pressed *test* for so long is told to be quiet."""


@dataclass(frozen=True)
class Standing:
    """How an avatar stands. `joined` is when it started; `lights` are without light 0."""

    avatar: str
    joined: float
    lights: tuple[Light, ...]

    @property
    def newest(self) -> Light | None:
        """The newest light."""
        return self.lights[-1] if self.lights else None

    @property
    def colour(self) -> str:
        """The colour of the newest light; `start` without one."""
        return self.lights[-1].colour if self.lights else "start"

    @property
    def counts(self) -> Counter[str]:
        """How many lights have each colour."""
        return Counter(light.colour for light in self.lights)

    @property
    def green_percent(self) -> int | None:
        """How many of a hundred lights are green; None without a light."""
        return _percent(self.counts["green"], len(self.lights))

    @property
    def passed(self) -> tuple[int, int] | None:
        """How many tests passed, and how many there are, at the newest light that tells it."""
        for light in reversed(self.lights):
            if light.tests is not None and light.passed is not None:
                return light.passed, light.tests
        return None

    @property
    def passed_percent(self) -> int | None:
        """How many of a hundred tests passed, then; None if no light tells it."""
        return None if self.passed is None else _percent(*self.passed)

    def quiet_seconds(self, now: float) -> float:
        """Return how long the avatar has not pressed *test*, since it joined if never."""
        return max(now - (self.lights[-1].time if self.lights else self.joined), 0)

    def is_quiet(self, now: float) -> bool:
        """Say whether that is long."""
        return self.quiet_seconds(now) >= QUIET_SECONDS


def standings(lights: Mapping[str, Sequence[Light]]) -> list[Standing]:
    """Return how each avatar stands, by name; of each, `lights` has light 0 first."""
    found = []
    for avatar in sorted(lights):
        known = lights[avatar]
        if known:
            pressed = tuple(light for light in known if light.number > 0)
            found.append(Standing(avatar, known[0].time, pressed))
    return found


@dataclass(frozen=True)
class Total:
    """What all of them together came to."""

    avatars: int
    lights: int
    quiet: int
    newest: Mapping[str, int]
    green_percent: int | None
    passed_percent: int | None


def total(of: Sequence[Standing], now: float) -> Total:
    """Return what several came to together."""
    lights = sum(len(each.lights) for each in of)
    known = [each.passed for each in of if each.passed is not None]
    return Total(
        avatars=len(of),
        lights=lights,
        quiet=sum(each.is_quiet(now) for each in of),
        newest=Counter(each.colour for each in of),
        green_percent=_percent(sum(each.counts["green"] for each in of), lights),
        passed_percent=_percent(sum(each[0] for each in known), sum(each[1] for each in known)),
    )


ORDERS = {
    "name": "name",
    "newest": "newest test first",
    "quiet": "quiet for longest first",
    "tests": "most tests first",
    "passed": "most tests passed first",
}
"""What standings can be sorted by, and what that is called."""

FILTERS = {
    "all": "everybody",
    "red": "red now",
    "amber": "amber now",
    "green": "green now",
    "quiet": "quiet for 10 min",
}
"""What can be chosen of them, and what that is called."""


def arranged(
    of: Iterable[Standing], now: float, *, order: str = "name", show: str = "all"
) -> list[Standing]:
    """Return some of the standings, sorted; names that are unknown count as the first ones."""
    keys: dict[str, Callable[[Standing], Any]] = {
        "newest": lambda each: each.quiet_seconds(now),
        "quiet": lambda each: -each.quiet_seconds(now),
        "tests": lambda each: -len(each.lights),
        # Those of whom it is not known come last.
        "passed": lambda each: (each.passed_percent is None, -(each.passed_percent or 0)),
    }
    chosen = [each for each in of if _is_shown(each, now, show)]
    chosen.sort(key=lambda each: each.avatar)
    if order in keys:
        chosen.sort(key=keys[order])
    return chosen


def _is_shown(standing: Standing, now: float, show: str) -> bool:
    if show == "quiet":
        return standing.is_quiet(now)
    return show not in FILTERS or show in ("all", standing.colour)


def _percent(part: int, whole: int) -> int | None:
    return 100 * part // whole if whole else None  # 100 only if all of them are
