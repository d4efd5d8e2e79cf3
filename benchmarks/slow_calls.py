"""How long others wait while 64 callers do the slowest that is allowed: of all kinds, or of one.

The usual times are measured right before and after, by the same calls.
"""

import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import bare_stream
from benchmarks.figures import Figure, percentile, table
from benchmarks.places import TRUE, Place, Runner, Service, Storer, request, runner, storer
from benchmarks.slow_callers import MIX, SORTS, Rounds, in_a_process, prepare
from benchmarks.storer_calls import ms, new_kata, press
from cyberdojo.storer.v1 import storer_pb2
from dojo import avatars, limits, locks

SECONDS = 30.0  # of each part
MIX_SECONDS = 60.0  # of all kinds, at any scale: the slowest of a hundred runs takes so many
OBJECTS = 900_000  # almost as many git objects as a kata may have
CALLS = ("GetKata", "RecordTest", "Run")
# What nobody can do better than on this machine: a call to a process that does nothing, and what a
# light writes, by a process that does nothing else.
BARE, DISK = "a bare call", "a light's files"
MEASURED = (*CALLS, BARE, DISK)
_FILES, _FILE_BYTES, _LOG_BYTES = 6, 1000, 5 * 1024
PERCENTS = (50, 99)
ALL_KINDS = "64 of all kinds"
COMPARISONS = f"{limits.MAX_COMPARING_PROCESSES} comparisons"
# What others pause between their calls.
PAUSE_SECONDS, RUN_PAUSE_SECONDS = 0.02, 0.25
# A service rests if it uses less than this part of a core for so long.
REST_SHARE, REST_SECONDS, MAX_REST_SECONDS = 0.1, 0.5, 60

Times = Mapping[str, list[float]]


@dataclass(frozen=True)
class _Found:
    """The milliseconds of others' calls beside slow callers, and usually; how slow calls ended."""

    beside: Times
    usual: Times
    rounds: Rounds

    def ratio(self, call: str, percent: int) -> float:
        return percentile(self.beside[call], percent) / percentile(self.usual[call], percent)


def measure(place: Place, scale: float) -> Iterator[Figure]:
    """Print tables; yield the figures."""
    mixes = {
        ALL_KINDS: MIX,
        COMPARISONS: {"DiffLights": limits.MAX_COMPARING_PROCESSES},
        **{f"{count} x {name}": {name: count} for name, count in SORTS.items()},
    }
    found: dict[str, _Found] = {}
    with (
        storer(place) as storing,
        runner(place, CYBER_DOJO_STORER=storing.address) as running,
        bare_stream.started() as bare,
    ):
        katas = prepare(storing.stub, round(OBJECTS * min(1, scale)))
        others = _Others(storing, running, bare, place)
        slow = partial(in_a_process, storing.address, running.address, katas)
        with locks.locked(place.data_containers.folder(katas.held)):
            for title, mix in mixes.items():
                seconds = MIX_SECONDS if title == ALL_KINDS else SECONDS * max(scale, 0.1)
                _rest(storing, running)
                before = others.call(seconds / 2)
                with slow(mix) as rounds:
                    beside = others.call(seconds)
                _rest(storing, running)
                after = others.call(seconds / 2)
                usual = {name: [*times, *after[name]] for name, times in before.items()}
                found[title] = _Found(beside, usual, rounds)
    place.clear()
    print(_ended_table(found))
    print(_times_table(found))
    print(_ratios_table(found))
    yield from _figures(found)


def _figures(found: Mapping[str, _Found]) -> Iterator[Figure]:
    for call in MEASURED:
        for percent in PERCENTS:
            ratio = found[ALL_KINDS].ratio(call, percent)
            name = f"{call} beside 64 slow callers, against the usual, p{percent}"
            yield Figure(name, ratio, "", *(("<=", 2) if call in CALLS else ()))
        worst = max(found, key=lambda title: found[title].ratio(call, 50))
        name = f"{call} beside slow callers of the worst kind, against the usual, p50"
        yield Figure(name, found[worst].ratio(call, 50), "")
    compared = found[COMPARISONS].beside
    longest = max(*compared["GetKata"], *compared["RecordTest"]) / 1000
    yield Figure(f"storer longest wait of others beside {COMPARISONS}", longest, "s", "<=", 0.2)


class _Others:
    """Callers with small calls and runs, who pause between them as participants do."""

    def __init__(
        self,
        storing: Storer,
        running: Runner,
        bare: Callable[[str, int], int],
        place: Place,
    ) -> None:
        self._storing = storing
        self._running = running
        self._bare = bare
        self._kata = new_kata(storing, 2)
        self._light = 0
        self._folder = place.sandbox(self._kata, avatars.NAMES[0]) / "written"
        self._folder.mkdir()

    def call(self, seconds: float) -> Times:
        """Call for so many seconds; return the milliseconds of each call, by name."""
        end = time.monotonic() + seconds
        times: dict[str, list[float]] = {name: [] for name in MEASURED}

        def use_storer() -> None:
            while time.monotonic() < end:
                times["GetKata"].append(ms(self._get))
                times["RecordTest"].append(ms(self._record))
                time.sleep(PAUSE_SECONDS)

        def use_runner() -> None:
            while time.monotonic() < end:
                times["Run"].append(ms(self._run))
                time.sleep(RUN_PAUSE_SECONDS)

        def use_yardsticks() -> None:
            with closing(_Files(self._folder)) as files:
                while time.monotonic() < end:
                    times[BARE].append(ms(partial(self._bare, bare_stream.DOWNLOAD, 0)))
                    times[DISK].append(ms(files.write))
                    time.sleep(PAUSE_SECONDS)

        users = [use_storer, use_runner, use_yardsticks]
        with ThreadPoolExecutor(len(users)) as threads:
            for each in [threads.submit(use) for use in users]:
                each.result()
        return times

    def _get(self) -> None:
        self._storing.stub.GetKata(storer_pb2.GetKataRequest(kata_id=self._kata))

    def _record(self) -> None:
        self._light += 1
        press(self._storing, self._kata, 0, self._light)

    def _run(self) -> None:
        self._running.stub.Run(request(self._kata, avatars.NAMES[1], TRUE))


class _Files:
    """Files as a light writes them: a log that has its size already, and new ones."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = (folder / "log").open("wb", buffering=0)
        self._log.write(bytes(_LOG_BYTES))
        os.fsync(self._log.fileno())

    def write(self) -> None:
        """Write the log and wait for the disk, then new files, without a wait."""
        os.pwrite(self._log.fileno(), os.urandom(_LOG_BYTES), 0)
        os.fdatasync(self._log.fileno())
        for _ in range(_FILES):
            (self._folder / secrets.token_hex(8)).write_bytes(os.urandom(_FILE_BYTES))

    def close(self) -> None:
        """Remove all."""
        self._log.close()
        for path in self._folder.iterdir():
            path.unlink()


def _rest(*services: Service) -> None:
    """Wait until nothing is left of what slow callers began."""
    end = time.monotonic() + MAX_REST_SECONDS
    for service in services:
        used = REST_SECONDS
        while used > REST_SHARE * REST_SECONDS and time.monotonic() < end:
            before = service.processor_seconds
            time.sleep(REST_SECONDS)  # for as long as this is measured
            used = service.processor_seconds - before


def _ended_table(found: Mapping[str, _Found]) -> str:
    """Return how the slow calls ended, without those that were in progress until the end."""
    rows = [
        (title, name, ", ".join(f"{count} {code}" for code, count in ended.items()))
        for title, each in found.items()
        for name, ended in each.rounds.items()
        if ended
    ]
    return table("Slow calls that ended", ("callers", "call", "status"), rows)


def _times_table(found: Mapping[str, _Found]) -> str:
    every = [each.usual for each in found.values()]
    usual = {call: [ms for times in every for ms in times[call]] for call in MEASURED}
    rows = [("nobody", *_of_each(usual))]
    rows += [(title, *_of_each(each.beside)) for title, each in found.items()]
    return table("Others", ("ms, beside", *_columns()), rows)


def _ratios_table(found: Mapping[str, _Found]) -> str:
    rows = [
        (
            title,
            *(f"{each.ratio(call, percent):.2f}" for call in MEASURED for percent in PERCENTS),
        )
        for title, each in found.items()
    ]
    return table("Others, against the usual of the same minutes", ("beside", *_columns()), rows)


def _columns() -> Iterable[str]:
    return [f"{call} p{percent}" for call in MEASURED for percent in PERCENTS]


def _of_each(times: Times) -> Iterable[float]:
    return [percentile(times[call], percent) for call in MEASURED for percent in PERCENTS]
