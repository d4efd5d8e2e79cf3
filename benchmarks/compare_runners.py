"""Compare runners of checkouts: `python -m benchmarks.compare_runners NAME=FOLDER NAME=FOLDER...`.

The runners take turns, one warm run of `true` each and in random order. Each run waits for a moment
in which the machine is idle, so that this works beside other programs that pause now and then. The
table has percentiles of the milliseconds. Each folder has to have what `make setup` makes in it.
"""

import argparse
import random
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.figures import percentile, table
from benchmarks.places import TRUE, Place, Runner, runner, temporary_place
from benchmarks.ways import Bare, WarmRun, Way, ways

# Part of the processors' time that is to be idle before a run, and how long to wait for that.
IDLE_PART = 0.9
MAX_WAIT_SECONDS = 5.0
PERCENTS = (10, 25, 50, 75, 90, 99)


def main() -> None:
    """Compare the runners in the folders that are given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runners", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--pause", type=float, default=0.1, metavar="SECONDS", help="before a run")
    arguments = parser.parse_args()
    folders = dict(each.split("=", 1) for each in arguments.runners)
    with ExitStack() as stack:
        places = {name: stack.enter_context(temporary_place()) for name in folders}
        runners = {
            name: stack.enter_context(
                runner(places[name], PYTHONPATH=str(Path(folder).resolve()), PYTHONSAFEPATH="1")
            )
            for name, folder in folders.items()
        }
        compared = {
            name: _opened(stack, WarmRun, places[name], serving)
            for name, serving in runners.items()
        }
        first = next(iter(folders))
        compared[Bare.name] = _opened(stack, Bare, places[first], runners[first])
        for way in compared.values():  # the first run imports and creates what the others find
            way.ready()
            way.milliseconds()
        times: dict[str, list[float]] = {name: [] for name in compared}
        for _ in range(arguments.rounds):
            for name in random.sample(list(compared), len(compared)):
                compared[name].ready()
                _pause(arguments.pause)
                times[name].append(compared[name].milliseconds())
    rows = [
        (name, *(percentile(found, percent) for percent in PERCENTS))
        for name, found in times.items()
    ]
    columns = ("ms", *(f"p{percent}" for percent in PERCENTS))
    print(table(f"Warm runs of true, {arguments.rounds} each", columns, rows))


def _opened(stack: ExitStack, kind: type[Way], place: Place, serving: Runner) -> Way:
    kata_id = place.new_kata(1)
    (way,) = stack.enter_context(ways([kind], place, kata_id, TRUE, serving))
    return way


def _pause(seconds: float) -> None:
    """Wait so long, and on until the machine has been idle for that time; but not for ever."""
    end = time.monotonic() + MAX_WAIT_SECONDS
    while True:
        idle, every = _processor_times()
        time.sleep(seconds)
        idle_now, every_now = _processor_times()
        if idle_now - idle >= IDLE_PART * (every_now - every) or time.monotonic() > end:
            return


def _processor_times() -> tuple[int, int]:
    """Return how long all processors were idle since the start, and how long in all (proc(5))."""
    line, _, _ = Path("/proc/stat").read_text().partition("\n")
    fields = [int(field) for field in line.split()[1:9]]
    return fields[3] + fields[4], sum(fields)


if __name__ == "__main__":
    main()
