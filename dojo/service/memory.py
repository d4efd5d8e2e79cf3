"""The memory that all calls of a service have together.

A call takes its part before it holds what is large, and a call that would take more than is left is
refused.
"""

import contextlib
import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dojo import limits
from dojo.errors import MemoryExhausted

_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)

_M_MMAP_THRESHOLD = -3  # of malloc.h


def limit_bytes() -> int:
    """Return the container's memory limit; a default if it has none or a larger one."""
    for path in _LIMITS:
        with contextlib.suppress(OSError, ValueError):  # the file is absent, or says `max`
            return min(int(path.read_text()), limits.MEMORY_BYTES)
    return limits.MEMORY_BYTES


def return_freed_blocks() -> None:
    """Have the C library give large blocks back to the kernel as soon as they are freed.

    By default it keeps blocks of up to 32 MiB for each of many threads, once one was freed.
    """
    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, limits.SMALL_BYTES)


class Memory:
    """What is left of the calls' share. Belongs to the event loop's thread."""

    def __init__(self, limit: int) -> None:
        """Share the memory of a service that may take `limit` bytes."""
        self._left = limit * limits.CALLS_MEMORY_PERCENT // 100

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Take bytes for the block; raise MemoryExhausted if too few are left."""
        if size > self._left:
            raise MemoryExhausted("other calls hold large files")
        self._left -= size
        try:
            yield
        finally:
            self._left += size
