"""Build a C project of 40 files in full, and again after one change: by the runner and by make."""

import statistics
import time
from collections.abc import Iterator

from benchmarks.figures import Figure, percentile, table
from benchmarks.places import Job, Place, runner
from benchmarks.ways import Bare, WarmRun, ways

FILES = 40


def measure(place: Place, scale: float) -> Iterator[Figure]:
    """Print a table; yield the figures."""
    rounds = max(5, round(30 * scale))
    kata_id = place.new_kata(2)
    found: dict[str, list[float]] = {}
    first = _project(0, "full")
    with runner(place) as serving, ways([Bare, WarmRun], place, kata_id, first, serving) as each:
        each[1].milliseconds()  # builds everything once, as the constructor of Bare did
        for number in range(1, rounds + 1):
            for way in each:
                for build in ("incremental", "full"):
                    way.submit(_project(number, build))
                    way.ready()
                    time.sleep(0.05)
                    found.setdefault(f"{way.name}, {build}", []).append(way.milliseconds())
    place.clear()
    rows = [
        (name, *(percentile(times, percent) for percent in (50, 90, 99)), len(times))
        for name, times in sorted(found.items())
    ]
    print(table(f"C, {FILES} files", ("ms", "p50", "p90", "p99", "builds"), rows), flush=True)
    for build in ("full", "incremental"):
        ours = statistics.median(found[f"{WarmRun.name}, {build}"])
        theirs = statistics.median(found[f"{Bare.name}, {build}"])
        target = 1.1 if build == "incremental" else None
        # Less 5 ms: that is the target for the overhead of a run, which has a figure of its own.
        yield Figure(
            f"runner {build} C build less 5 ms, against make in place",
            (ours - 5) / theirs,
            "",
            "<=" if target else "",
            target,
        )


def _project(number: int, build: str) -> Job:
    """Return the project. One of its files differs for each `number`."""
    files = {f"part{each}.c": _part(each, number) for each in range(FILES)}
    files["main.c"] = _main()
    files["makefile"] = (
        b"OBJECTS = $(patsubst %.c,%.o,$(wildcard *.c))\n"
        b"run: $(OBJECTS)\n\tgcc -o run $(OBJECTS)\n\t./run\n"
    )
    options = b"--always-make" if build == "full" else b""
    files["cyber-dojo.sh"] = b"make %s run\n" % options
    return Job("C project", "cyberdojofoundation/gcc_assert", files)


def _part(each: int, number: int) -> bytes:
    changed = number if each == 0 else 0
    return b"#include <stdio.h>\nint part%d(int n)\n{\n    return n + %d;\n}\n" % (each, changed)


def _main() -> bytes:
    declared = b"".join(b"int part%d(int);\n" % each for each in range(FILES))
    called = b"".join(b"    sum += part%d(1);\n" % each for each in range(FILES))
    return b"%s\nint main(void)\n{\n    int sum = 0;\n%s    return sum == 0;\n}\n" % (
        declared,
        called,
    )
