"""A class presses *test* at once: how long the last one waits, and whether all wait alike.

Two questions, which one burst can't answer both. How long the last one of a burst waits is compared
with the tests alone. Whether somebody waits longer than others shows over many bursts, in which the
order of the presses differs: within one, somebody is the last in any order.
"""

import random
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from benchmarks.figures import Figure, percentile, table
from benchmarks.places import PYTEST, Place, runner, shim_private_bytes
from benchmarks.ways import Bare, Run, WarmRun, Way, ways
from dojo import avatars, naming

AVATARS = len(avatars.NAMES)
# The presses are spread evenly over this time.
PRESS_SECONDS = 1.0
# Bursts for the question whether all wait alike, and at least so many: of fewer, the 99th
# percentile of an avatar is where it happened to stand in the order.
BURSTS, MIN_BURSTS = 10, 5
# How often one avatar presses in a burst, to see whether others wait for that.
PRESSES_AGAIN = 8
MIB = 1024**2


def measure(place: Place, scale: float) -> Iterator[Figure]:
    """Print tables; yield the figures. At least 4 avatars press, whatever the scale."""
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
            if issubclass(kind, Run):
                yield from _waiting(place, kata_id, count)
            for when in ("all prepared", "again"):
                begun = time.monotonic()
                times = [end - begun for _, end in _press(all_ways)]
                last = max(times)
                rows.append(
                    (f"{kind.name}, {when}", last, statistics.mean(times), percentile(times, 99))
                )
                if kind is Bare:
                    bare_seconds = last
                elif issubclass(kind, Run):
                    name = f"runner {count} avatars press in a second, {when}, against bare"
                    yield Figure(name, last / bare_seconds, "", "<=", 1.1)
            if issubclass(kind, Run):
                yield from _fairness(all_ways, max(MIN_BURSTS, round(BURSTS * scale)))
        place.clear()
    print(
        table(f"{count} avatars press test in one second", ("s", "last", "mean", "p99"), rows),
        flush=True,
    )


def _waiting(place: Place, kata_id: str, count: int) -> Iterator[Figure]:
    """Yield what a container costs that waits: what it is charged, and what the engine keeps."""
    labels = [f"{naming.KIND_LABEL}=run", f"{naming.KATA_LABEL}={kata_id}"]
    found = [each["Id"] for each in place.engine.api.containers(filters={"label": labels})]
    if len(found) != count:
        raise RuntimeError(f"{len(found)} containers wait instead of {count}")
    charged = [
        place.engine.api.stats(each, stream=False, one_shot=True)["memory_stats"]["usage"] / MIB
        for each in found
    ]
    yield Figure("runner a waiting container is charged, at most", max(charged), "MiB", "<=", 4)
    kept = statistics.mean(shim_private_bytes(place, each) for each in found) / MIB
    yield Figure("runner what the engine keeps for a container, mean", kept, "MiB")


def _fairness(all_ways: list[Way], bursts: int) -> Iterator[Figure]:
    """Yield how evenly the waiting is shared, over bursts in which the order is another each time.

    A run's waiting is the time from its press to its light.
    """
    count = len(all_ways)
    waits = _bursts(all_ways, bursts, presses_again=1)
    p99s = [percentile(each, 99) for each in waits]
    yield Figure(
        f"runner {count} avatars in {bursts} bursts, the p99 of the slowest against all p99s' mean",
        max(p99s) / statistics.mean(p99s),
        "",
        "<=",
        1.5,
    )
    beside = _bursts(all_ways, bursts, presses_again=PRESSES_AGAIN)
    yield Figure(
        f"runner others' mean wait beside one who presses {PRESSES_AGAIN} times",
        _mean_of_others(beside) / _mean_of_others(waits),
        "",
        "<=",
        1.1,
    )
    rows = [
        (name, min(found), statistics.mean(found), max(found))
        for name, found in (
            ("mean of each", [statistics.mean(each) for each in waits]),
            ("p99 of each", p99s),
            (
                f"mean of each of the others, one presses {PRESSES_AGAIN} times",
                [statistics.mean(each) for each in beside[1:]],
            ),
        )
    ]
    columns = ("s", "least", "mean", "most")
    print(table(f"Waiting of {count} avatars, {bursts} bursts", columns, rows), flush=True)


def _bursts(all_ways: list[Way], bursts: int, presses_again: int) -> list[list[float]]:
    """Return how many seconds each avatar waited in each burst; the first presses so often."""
    waits: list[list[float]] = [[] for _ in all_ways]
    for _ in range(bursts):
        order = [0] * presses_again + list(range(1, len(all_ways)))
        random.shuffle(order)
        pressed = _press([all_ways[number] for number in order])
        for number, (begun, end) in zip(order, pressed, strict=True):
            waits[number].append(end - begun)
    return waits


def _mean_of_others(waits: Sequence[list[float]]) -> float:
    return statistics.mean(statistics.mean(each) for each in waits[1:])


def _press(all_ways: list[Way]) -> list[tuple[float, float]]:
    """Run each way once; return when each one was begun, and when it had its result."""
    first = time.monotonic()

    def press(numbered: tuple[int, Way]) -> tuple[float, float]:
        number, way = numbered
        time.sleep(max(0, first + number * PRESS_SECONDS / len(all_ways) - time.monotonic()))
        begun = time.monotonic()
        way.milliseconds()
        return begun, time.monotonic()

    with ThreadPoolExecutor(len(all_ways)) as threads:
        return list(threads.map(press, enumerate(all_ways)))
