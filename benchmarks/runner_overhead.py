"""What a run costs in addition to the test itself: for one client, and for 4 and 16 at once."""

import statistics
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from benchmarks.figures import Figure, percentile, table
from benchmarks.places import C_BUILD, PYTEST, TRUE, Job, Place, runner
from benchmarks.ways import (
    Bare,
    ColdRun,
    DockerApi,
    DockerApiNotRemoved,
    DockerExec,
    DockerRun,
    WarmRun,
    Way,
    ways,
)
from dojo import avatars

ALONE: list[type[Way]] = [
    Bare,
    DockerExec,
    DockerRun,
    DockerApi,
    DockerApiNotRemoved,
    ColdRun,
    WarmRun,
]
TOGETHER: list[type[Way]] = [Bare, DockerRun, DockerApi, ColdRun, WarmRun]
PERCENTS = (50, 90, 99)
# Participants pause between two tests, so the work that follows a run has ended by the next.
PAUSE_SECONDS = 0.25

_COLUMNS = ("ms", *(f"p{percent}" for percent in PERCENTS), "runs")


def measure(place: Place, scale: float) -> Iterator[Figure]:
    """Print a table for each job and number of clients; yield the figures."""
    alone = {}
    for job, rounds in ((TRUE, 200), (PYTEST, 40), (C_BUILD, 40)):
        alone[job.name] = _alone(place, job, max(10, round(rounds * scale)))
        _print(f"{job.name}, one client", alone[job.name].items())
    yield from _overheads(alone[TRUE.name])
    for clients in (4, 16):
        rates = {}
        for job, seconds in ((TRUE, 20), (PYTEST, 10), (C_BUILD, 10)):
            together = {
                kind.name: _together(place, job, kind, clients, seconds * scale)
                for kind in TOGETHER
            }
            rates[job.name] = {name: rate for name, (_, rate) in together.items()}
            rows = ((f"{name}, {rate:.1f}/s", times) for name, (times, rate) in together.items())
            _print(f"{job.name}, {clients} clients", rows)
        yield from _rates(clients, rates)


def _rates(clients: int, rates: dict[str, dict[str, float]]) -> Iterator[Figure]:
    """Yield how many runs a second there were, and how many of the same tests without a runner."""
    ours = rates[TRUE.name][WarmRun.name]
    name = f"runner runs per second, {clients} clients"
    yield Figure(name, ours, "/s", ">=", 100)
    yield Figure(f"{name}, against docker run", ours / rates[TRUE.name][DockerRun.name], "")
    for job in (PYTEST, C_BUILD):
        against = rates[job.name][WarmRun.name] / rates[job.name][Bare.name]
        yield Figure(f"{name}, {job.name}, against bare", against, "", ">=", 0.85)


def _overheads(alone: dict[str, list[float]]) -> Iterator[Figure]:
    """Yield what a run of `true` costs more than the same inside a running container."""
    bare = statistics.median(alone[Bare.name])
    p50 = statistics.median(alone[WarmRun.name]) - bare
    p99 = percentile(alone[WarmRun.name], 99) - bare
    docker_run = statistics.median(alone[DockerRun.name]) - bare
    cold = statistics.median(alone[ColdRun.name])
    api = statistics.median(alone[DockerApiNotRemoved.name])
    yield Figure("runner warm overhead p50", p50, "ms", "<=", 6)
    yield Figure("runner warm overhead p99", p99, "ms", "<=", 15)
    yield Figure("runner warm overhead, against docker run's", p50 / docker_run, "", "<=", 1 / 40)
    yield Figure(
        "runner cold, against create+start+attach+wait by the API", cold / api, "", "<=", 1.15
    )


def _alone(place: Place, job: Job, rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds of each way. The ways take turns."""
    kata_id = place.new_kata(len(ALONE))
    found: dict[str, list[float]] = {kind.name: [] for kind in ALONE}
    with runner(place) as serving, ways(ALONE, place, kata_id, job, serving) as each_way:
        for _ in range(rounds):
            for way in each_way:
                way.ready()
                time.sleep(PAUSE_SECONDS)
                found[way.name].append(way.milliseconds())
    place.clear()
    return found


def _together(
    place: Place, job: Job, kind: type[Way], clients: int, seconds: float
) -> tuple[list[float], float]:
    """Return the milliseconds of each run, and the runs per second, with clients in a loop."""
    kata_id = place.new_kata(len(avatars.NAMES))
    found: list[list[float]] = [[] for _ in range(clients)]
    settings = {"CYBER_DOJO_RUNNER_MAX_WARM_CONTAINERS": "64" if kind is WarmRun else "0"}
    with (
        runner(place, **settings) as serving,
        ways([kind] * clients, place, kata_id, job, serving) as each_way,
    ):
        for way in each_way:
            way.ready()
        end = time.monotonic() + seconds

        def press(way: Way, times: list[float]) -> None:
            while time.monotonic() < end:
                times.append(way.milliseconds())

        begun = time.monotonic()
        with ThreadPoolExecutor(clients) as threads:
            list(threads.map(press, each_way, found))
        took = time.monotonic() - begun
    place.clear()
    times = [milliseconds for each in found for milliseconds in each]
    return times, len(times) / took


def _print(title: str, rows: Iterable[tuple[str, list[float]]]) -> None:
    lines = (
        (name, *(percentile(times, percent) for percent in PERCENTS), len(times))
        for name, times in rows
    )
    print(table(title, _COLUMNS, lines), flush=True)
