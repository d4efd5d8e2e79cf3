"""Time in columns, as cyber-dojo's dashboard shows it: where nothing happens for long, it folds.

A column is a minute, or more where a session is so long that minutes would be too many. A stretch
of more than a few columns in which nobody pressed *test* becomes one narrow column, a fold, that
says how long it was. `web/script/timeline.ts` does the same in a browser; both do what
`tests/unit/web/timeline_cases.json` says.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

COLUMN_SECONDS = (60, 120, 300, 600, 1800, 3600, 10800, 21600, 43200, 86400)
"""How long a column can be. Beyond the last, it doubles."""

LONGEST_GAP = 5
"""The columns without a light that stay as they are; more of them fold."""

MAX_COLUMNS = 90
"""The columns of a timeline, so that a page stays small however long a session was."""


@dataclass(frozen=True)
class Column:
    """A stretch of time, from `start` (seconds since the epoch), of `seconds`."""

    start: float
    seconds: float
    is_fold: bool = False


@dataclass(frozen=True)
class Timeline:
    """Columns in the order of time, without gaps between them."""

    column_seconds: int
    columns: tuple[Column, ...]

    def column_of(self, time: float) -> int:
        """Return the place of the column in which a time is; the first or last for others."""
        place = bisect_right(self.columns, time, key=lambda column: column.start) - 1
        return max(place, 0)


def fold(
    times: Iterable[float],
    now: float,
    *,
    max_columns: int = MAX_COLUMNS,
    longest_gap: int = LONGEST_GAP,
) -> Timeline:
    """Return the timeline in which all the times of lights are, up to `now`.

    Times are in seconds since the epoch. Of times that are after `now`, as another machine's clock
    was ahead, the last one counts as now. Takes work for the lights, not for the time between them.
    """
    known = sorted(times)
    if not known:
        known = [now]
    now = max(now, known[-1])
    for column_seconds in _widths():
        columns = _columns(known, now, column_seconds, longest_gap)
        if len(columns) <= max_columns:
            return Timeline(column_seconds, tuple(columns))
    raise AssertionError("widths never end")


def _widths() -> Iterable[int]:
    yield from COLUMN_SECONDS
    width = COLUMN_SECONDS[-1]
    while True:
        width *= 2
        yield width


def _columns(times: list[float], now: float, column_seconds: int, longest_gap: int) -> list[Column]:
    first = times[0] // column_seconds
    used = sorted({int(time // column_seconds - first) for time in [*times, now]})
    start = first * column_seconds

    def column(place: int, count: int = 1, *, is_fold: bool = False) -> Column:
        return Column(start + place * column_seconds, count * column_seconds, is_fold)

    found = [column(used[0])]
    for before, after in pairwise(used):
        empty = after - before - 1
        if empty > longest_gap:
            found.append(column(before + 1, empty, is_fold=True))
        else:
            found += [column(place) for place in range(before + 1, after)]
        found.append(column(after))
    return found


def for_people(seconds: float) -> str:
    """Return how long something takes: `40 s`, `12 min`, `3 h 5 min`, `2 d 4 h`."""
    whole = max(int(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    minutes, hours, days = whole // 60 % 60, whole // 3600 % 24, whole // 86400
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min"
