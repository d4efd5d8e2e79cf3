"""What memory the services take while 64 clients make the worst calls that are allowed.

Each service is in a control group with the limit that docker-compose.yml gives its container.
"""

import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Self

from benchmarks.figures import Figure, table
from benchmarks.memory_group import MemoryGroup, memory_group
from benchmarks.places import Place, runner, storer
from benchmarks.slow_callers import MIX, SORTS, in_a_process, prepare
from dojo import limits, locks

SECONDS = 30.0  # of each mix of callers
SAMPLE_SECONDS = 0.02
OBJECTS = 900_000  # almost as many git objects as a kata may have
# The calls that can hold the most.
LARGE_CALLS = (
    *("RecordTest", "GetFiles", "ForkKata", "DiffLights", "DownloadPatch", "VerifyKatas"),
    *("DownloadKata", "BackupKatas", "RestoreKata, many objects"),
)
RUNS = {"Run": 60, "Run, never sent": 4}
SERVICES = ("storer", "runner")


def measure(place: Place, scale: float) -> Iterator[Figure]:
    """Print a table; yield the figures."""
    mixes: dict[str, Mapping[str, int]] = {
        "64 of all kinds": MIX,
        **{f"{SORTS[name]} x {name}": {name: SORTS[name]} for name in LARGE_CALLS},
        "60 x Run, 4 never sent": RUNS,
    }
    objects = round(OBJECTS * min(1, scale))
    peaks = {}
    for title, mix in mixes.items():
        peaks[title] = found = _peaks(place, mix, SECONDS * max(scale, 0.1), objects)
        shown = (f"{name} {each.mib:.0f} MiB" for name, each in found.items())
        print(f"{title}: {', '.join(shown)}", file=sys.stderr)
    columns = ("callers", *(f"{name} {what}" for name in SERVICES for what in ("MiB", "killed")))
    rows = [
        (
            title,
            *(figure for name in SERVICES for figure in (found[name].mib, found[name].kills)),
        )
        for title, found in peaks.items()
    ]
    print(table("Most memory, with the processes that a service started", columns, rows))
    for name in SERVICES:
        most = max(found[name].bytes for found in peaks.values())
        title = f"{name} peak memory of 64 slow callers, of its limit"
        yield Figure(title, most / limits.MEMORY_BYTES, "", "<=", 0.75)


def _peaks(
    place: Place, mix: Mapping[str, int], seconds: float, objects: int
) -> dict[str, "_Peak"]:
    """Measure services that have just started."""
    with (
        memory_group(limits.MEMORY_BYTES) as storers,
        memory_group(limits.MEMORY_BYTES) as runners,
        storer(place, storers) as storing,
        runner(place, runners, CYBER_DOJO_STORER=storing.address) as running,
    ):
        katas = prepare(storing.stub, objects if any("objects" in name for name in mix) else 1)
        with (
            locks.locked(place.data_containers.folder(katas.held)),
            _Peak(storers) as storer_peak,
            _Peak(runners) as runner_peak,
            in_a_process(storing.address, running.address, katas, mix),
        ):
            time.sleep(seconds)  # for as long as this is measured
    place.clear()
    return dict(zip(SERVICES, (storer_peak, runner_peak), strict=True))


class _Peak:
    """The most bytes that a group of processes holds within a block, and how many were killed."""

    def __init__(self, group: MemoryGroup) -> None:
        self.bytes = self.kills = 0
        self._group = group
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    @property
    def mib(self) -> float:
        return self.bytes / 1024**2

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        self.kills = self._group.kills()

    def _sample(self) -> None:
        while not self._is_over.wait(SAMPLE_SECONDS):
            self.bytes = max(self.bytes, self._group.held_bytes())
