"""A control group: what the kernel says of the memory of the processes in it, all together."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

_TOP = Path("/sys/fs/cgroup")
_REMOVAL_SECONDS = 10.0


class MemoryGroup:
    """A group of processes with a limit of memory, as a container's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # https://docs.kernel.org/admin-guide/cgroup-v2.html, and cgroup-v1/memory.html beside it
        is_first = (folder / "memory.limit_in_bytes").exists()
        self._limit = "memory.limit_in_bytes" if is_first else "memory.max"
        self._kills = "memory.oom_control" if is_first else "memory.events"
        self._held = ("total_rss", "total_shmem") if is_first else ("anon", "shmem")

    @property
    def procs(self) -> Path:
        """The file that takes the id of a process which is to be in the group."""
        return self._folder / "cgroup.procs"

    def limit(self, limit_bytes: int) -> None:
        """Let the processes take no more than this."""
        (self._folder / self._limit).write_text(str(limit_bytes))

    def held_bytes(self) -> int:
        """Return what the processes hold and the kernel can't take back.

        Files in memory are among it; pages of files on a disk, which the kernel drops as it likes,
        are not.
        """
        found = self._values("memory.stat")
        return sum(found[name] for name in self._held)

    def kills(self) -> int:
        """Return how many processes the kernel has killed because the limit was reached."""
        return self._values(self._kills)["oom_kill"]

    def remove(self) -> None:
        """Remove the group, when all of its processes have ended."""
        end = time.monotonic() + _REMOVAL_SECONDS
        while True:
            try:
                self._folder.rmdir()
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > end:
                    raise
                time.sleep(0.01)  # the kernel tells nobody that a process has left
            else:
                return

    def _values(self, name: str) -> dict[str, int]:
        lines = (self._folder / name).read_text().splitlines()
        return {key: int(value) for key, value in map(str.split, lines)}


@contextlib.contextmanager
def memory_group(limit_bytes: int) -> Iterator[MemoryGroup]:
    """Yield a group with this limit, and remove it at the end. Requires root, as docker does."""
    first = _TOP / "memory"
    folder = (first if first.is_dir() else _TOP) / f"bench-{os.getpid()}-{secrets.token_hex(4)}"
    folder.mkdir()
    group = MemoryGroup(folder)
    try:
        group.limit(limit_bytes)
        yield group
    finally:
        group.remove()
