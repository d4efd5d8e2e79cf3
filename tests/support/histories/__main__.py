"""Judges a history in a file again.

In the folder `tests`: `PYTHONPATH=.. ../.venv/bin/python -m support.histories FILE [--stale-reads]`
"""

import sys
from pathlib import Path

from support.histories import history_file
from support.histories.checker import judge


def main(arguments: list[str]) -> int:
    """Judge the history; return the exit code, 1 if it is not right."""
    stale_reads = "--stale-reads" in arguments
    (path,) = (each for each in arguments if each != "--stale-reads")
    attempts, final = history_file.read(Path(path))
    verdict = judge(attempts, final, stale_reads=stale_reads)
    sys.stdout.write(f"{verdict}\n")
    return 0 if verdict.is_right else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
