"""How long others wait while 64 callers do the slowest that is allowed, and what memory that takes.

The usual times are measured before and after, by the same calls.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Self

from benchmarks.figures import Figure, percentile, table
from benchmarks.places import TRUE, Place, Runner, Service, Storer, request, runner, storer
from benchmarks.slow_callers import MIX, Rounds, in_a_process, prepare
from benchmarks.storer_calls import ms, new_kata, press
from cyberdojo.storer.v1 import storer_pb2
from dojo import avatars, limits, locks

SECONDS = 30.0  # of each part
CLIENTS = 64
OBJECTS = 900_000  # almost as many git objects as a kata may have
# What others pause between their calls.
PAUSE_SECONDS, RUN_PAUSE_SECONDS = 0.02, 0.25
SAMPLE_SECONDS = 0.02
# The calls that can hold the most, each by 64 clients at once.
LARGE_CALLS = ("RecordTest", "GetFiles", "ForkKata", "DiffLights", "VerifyKatas", "DownloadKata")
RUNS = {"Run": 60, "Run, never sent": 4}

Times = Mapping[str, list[float]]


def measure(place: Place, scale: float) -> Iterator[Figure]:
    """Print tables; yield the figures."""
    seconds = SECONDS * max(scale, 0.2)
    objects = round(OBJECTS * min(1, scale))
    with (
        storer(place) as storing,
        runner(place, CYBER_DOJO_STORER=storing.address) as running,
    ):
        katas = prepare(storing.stub, objects)
        others = _Others(storing, running)
        slow = partial(in_a_process, storing.address, running.address, katas)
        with locks.locked(place.data_containers.folder(katas.held)):
            before = others.call(seconds)
            with slow(MIX) as rounds:
                beside = others.call(2 * seconds)
            print(_calls_table(rounds))
            after = others.call(seconds)
            with slow({"DiffLights": limits.MAX_COMPARING_PROCESSES}):
                compared = others.call(seconds)
    place.clear()
    usual = {name: [*times, *after[name]] for name, times in before.items()}
    print(
        _times_table(
            {
                "usual": usual,
                f"beside {CLIENTS} slow callers": beside,
                "beside two comparisons": compared,
            }
        )
    )
    for name, times in beside.items():
        for percent in (50, 99):
            yield Figure(
                f"{name} beside {CLIENTS} slow callers, against the usual, p{percent}",
                percentile(times, percent) / percentile(usual[name], percent),
                "",
                "<=",
                2,
            )
    waits = [*compared["GetKata"], *compared["RecordTest"]]
    yield Figure(
        "storer longest wait of others beside two comparisons", max(waits) / 1000, "s", "<=", 0.2
    )
    yield from _memory(place, seconds, objects)


def _memory(place: Place, seconds: float, objects: int) -> Iterator[Figure]:
    """Measure the most memory that the services take, with a service of its own for each mix."""
    mixes = {f"{CLIENTS} x {name}": {name: CLIENTS} for name in LARGE_CALLS}
    rows = []
    peaks: dict[str, int] = {}
    for title, mix in {"all kinds together": MIX, **mixes, "60 x Run, 4 never sent": RUNS}.items():
        with (
            storer(place) as storing,
            runner(place, CYBER_DOJO_STORER=storing.address) as running,
        ):
            katas = prepare(storing.stub, objects if mix is MIX else 1)
            with (
                locks.locked(place.data_containers.folder(katas.held)),
                _Peaks({"storer": storing, "runner": running}) as found,
                in_a_process(storing.address, running.address, katas, mix),
            ):
                time.sleep(seconds)  # for as long as this is measured
        place.clear()
        rows.append((title, *(found.bytes[name] / 1024**2 for name in ("storer", "runner"))))
        peaks = {name: max(size, peaks.get(name, 0)) for name, size in found.bytes.items()}
    print(
        table(
            "Most memory, with the processes that compare",
            ("callers", "storer MiB", "runner MiB"),
            rows,
        )
    )
    for name, size in peaks.items():
        yield Figure(
            f"{name} peak memory of {CLIENTS} slow callers, of its limit",
            size / limits.MEMORY_BYTES,
            "",
            "<=",
            0.75,
        )


class _Others:
    """Callers with small calls and runs, who pause between them as participants do."""

    def __init__(self, storing: Storer, running: Runner) -> None:
        self._storing = storing
        self._running = running
        self._kata = new_kata(storing, 2)
        self._light = 0

    def call(self, seconds: float) -> Times:
        """Call for so many seconds; return the milliseconds of each call, by name."""
        end = time.monotonic() + seconds
        times: dict[str, list[float]] = {name: [] for name in ("GetKata", "RecordTest", "Run")}

        def use_storer() -> None:
            while time.monotonic() < end:
                times["GetKata"].append(ms(self._get))
                times["RecordTest"].append(ms(self._record))
                time.sleep(PAUSE_SECONDS)

        def use_runner() -> None:
            while time.monotonic() < end:
                times["Run"].append(ms(self._run))
                time.sleep(RUN_PAUSE_SECONDS)

        with ThreadPoolExecutor(2) as threads:
            for each in [threads.submit(use_storer), threads.submit(use_runner)]:
                each.result()
        return times

    def _get(self) -> None:
        self._storing.stub.GetKata(storer_pb2.GetKataRequest(kata_id=self._kata))

    def _record(self) -> None:
        self._light += 1
        press(self._storing, self._kata, 0, self._light)

    def _run(self) -> None:
        self._running.stub.Run(request(self._kata, avatars.NAMES[1], TRUE))


class _Peaks:
    """The most resident bytes of services together with their processes, within a block."""

    def __init__(self, services: Mapping[str, Service]) -> None:
        self.bytes = dict.fromkeys(services, 0)
        self._services = services
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        for name, service in self._services.items():
            self.bytes[name] = max(self.bytes[name], service.peak_bytes)

    def _sample(self) -> None:
        while not self._is_over.wait(SAMPLE_SECONDS):
            for name, service in self._services.items():
                self.bytes[name] = max(self.bytes[name], service.resident_bytes_with_children)


def _times_table(times: Mapping[str, Times]) -> str:
    rows = [
        (
            f"{name}, {when}",
            *(percentile(each, percent) for percent in (50, 99)),
            max(each),
            len(each),
        )
        for name in ("GetKata", "RecordTest", "Run")
        for when, found in times.items()
        for each in [found[name]]
    ]
    return table("Others", ("ms", "p50", "p99", "longest", "calls"), rows)


def _calls_table(rounds: Rounds) -> str:
    """Return how the slow calls ended, without those that were in progress until the end."""
    rows = [
        (name, MIX[name], ", ".join(f"{count} {code}" for code, count in found.items()))
        for name, found in rounds.items()
    ]
    return table("Slow calls", ("call", "callers", "ended"), rows)
