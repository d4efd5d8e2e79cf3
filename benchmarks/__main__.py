"""`python -m benchmarks [NAME...]`: measure, print the tables, write results.json.

`--scale 0.1` makes a tenth of the rounds: to see that all of it works, not to believe it.
"""

import argparse
import os
import platform
import sys
from pathlib import Path

from benchmarks import (
    figures,
    runner_builds,
    runner_lambdas,
    runner_memory,
    runner_overhead,
    runner_recovery,
    storer_archive,
    storer_backup,
    storer_calls,
    storer_download,
)
from benchmarks.figures import Figure
from benchmarks.places import place

# First what makes files one by one: after many were removed, as others here do, ext4 takes longer
# for each, wherever it happens to be put.
MEASURES = {
    "storer_calls": storer_calls.measure,
    "storer_download": storer_download.measure,
    "storer_backup": storer_backup.measure,
    "runner_overhead": runner_overhead.measure,
    "runner_builds": runner_builds.measure,
    "runner_memory": runner_memory.measure,
    "runner_lambdas": runner_lambdas.measure,
    "storer_archive": storer_archive.measure,
    "runner_recovery": runner_recovery.measure,
}
RESULTS = Path(__file__).with_name("results.json")


def main() -> None:
    """Measure what was asked for; exit with 1 if a target is not met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *MEASURES], metavar="NAME")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--output", type=Path, default=RESULTS)
    told = parser.parse_args()
    found: list[Figure] = []
    with place() as made:
        engine = made.engine.api.version()
        print(
            f"{os.cpu_count()} cores, Linux {platform.release()}, docker {engine['Version']}, "
            f"Python {platform.python_version()}\n"
        )
        for name in told.names or MEASURES:
            found += MEASURES[name](made, told.scale)
    print(figures.figures_table(found))
    figures.write(found, told.output)
    sys.exit(any(not figure.is_ok for figure in found))


if __name__ == "__main__":
    main()
