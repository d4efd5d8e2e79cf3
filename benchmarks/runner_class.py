"""A class presses *test* at once: how long the last one waits, against the tests alone."""

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from benchmarks.figures import Figure, percentile, table
from benchmarks.places import PYTEST, Place, runner
from benchmarks.ways import Bare, Run, WarmRun, Way, ways
from dojo import avatars

AVATARS = len(avatars.NAMES)
# The presses are spread evenly over this time.
PRESS_SECONDS = 1.0


def measure(place: Place, scale: float) -> Iterator[Figure]:
    """Print a table; yield the figures. At least 4 avatars press, whatever the scale."""
    count = max(4, round(AVATARS * min(1, scale)))
    rows = []
    bare_seconds = 0.0
    for kind in (Bare, WarmRun):
        kata_id = place.new_kata(count)
        with (
            runner(place) as serving,
            ways([kind] * count, place, kata_id, PYTEST, serving) as all_ways,
        ):
            for way in all_ways:
                way.ready()
            for when in ("all prepared", "again"):
                times = _press(all_ways)
                last = max(times)
                rows.append(
                    (f"{kind.name}, {when}", last, statistics.mean(times), percentile(times, 99))
                )
                if kind is Bare:
                    bare_seconds = last
                elif issubclass(kind, Run):
                    name = f"runner {count} avatars press in a second, {when}, against bare"
                    yield Figure(name, last / bare_seconds, "", "<=", 1.1)
        place.clear()
    print(
        table(f"{count} avatars press test in one second", ("s", "last", "mean", "p99"), rows),
        flush=True,
    )


def _press(all_ways: list[Way]) -> list[float]:
    """Run each way once; return how many seconds after the first press each one had its result."""
    begun = time.monotonic()

    def press(numbered: tuple[int, Way]) -> float:
        number, way = numbered
        time.sleep(max(0, begun + number * PRESS_SECONDS / len(all_ways) - time.monotonic()))
        way.milliseconds()
        return time.monotonic() - begun

    with ThreadPoolExecutor(len(all_ways)) as threads:
        return list(threads.map(press, enumerate(all_ways)))
