"""`python -m benchmarks [NAME...]`: measure, print the tables, write results.json.

`--scale 0.1` makes a tenth of the rounds: enough to see that everything works, too few for figures.
"""

import argparse
import os
import platform
import sys
from pathlib import Path

from benchmarks import (
    figures,
    observing,
    runner_builds,
    runner_class,
    runner_lambdas,
    runner_memory,
    runner_overhead,
    runner_processors,
    runner_recovery,
    runner_reuse,
    several_calls,
    several_etcd,
    several_faults,
    slow_calls,
    slow_calls_memory,
    storer_archive,
    storer_backup,
    storer_calls,
    storer_download,
    web_dashboards,
    web_tests,
)
from benchmarks.figures import Figure
from benchmarks.places import temporary_place

# What creates files one by one comes first. Some of the others remove many files, and after that
# ext4 takes longer to create one.
MEASURES = {
    "storer_calls": storer_calls.measure,
    "storer_download": storer_download.measure,
    "storer_backup": storer_backup.measure,
    "runner_overhead": runner_overhead.measure,
    "runner_builds": runner_builds.measure,
    "runner_class": runner_class.measure,
    "runner_processors": runner_processors.measure,
    "runner_memory": runner_memory.measure,
    "runner_reuse": runner_reuse.measure,
    "runner_lambdas": runner_lambdas.measure,
    "observing": observing.measure,
    "storer_archive": storer_archive.measure,
    "runner_recovery": runner_recovery.measure,
    "slow_calls": slow_calls.measure,
    "slow_calls_memory": slow_calls_memory.measure,
    "several_calls": several_calls.measure,
    "several_etcd": several_etcd.measure,
    "several_faults": several_faults.measure,
    "web_dashboards": web_dashboards.measure,
    "web_tests": web_tests.measure,
}
RESULTS = Path(__file__).with_name("results.json")


def main() -> None:
    """Run the named benchmarks, or all; exit with 1 if a target is not met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *MEASURES], metavar="NAME")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    found: list[Figure] = []
    with temporary_place() as place:
        engine = place.engine.api.version()
        print(
            f"{os.cpu_count()} cores, Linux {platform.release()}, docker {engine['Version']}, "
            f"Python {platform.python_version()}\n"
        )
        for name in arguments.names or MEASURES:
            found += MEASURES[name](place, arguments.scale)
    print(figures.figures_table(found))
    figures.write(found, arguments.output)
    sys.exit(any(not figure.is_ok for figure in found))


if __name__ == "__main__":
    main()
