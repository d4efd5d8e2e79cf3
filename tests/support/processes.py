"""The processes of this machine, from /proc."""

from contextlib import suppress
from pathlib import Path


def command_of(pid: int) -> list[str]:
    """Return the arguments of a process; none if it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return []


def children_of(pid: int) -> list[int]:
    """Return the ids of the processes that a process started and that exist still."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):  # the thread has ended
            found += map(int, (thread / "children").read_text().split())
    return found
