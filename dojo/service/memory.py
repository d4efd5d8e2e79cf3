"""The memory of a service: how much it may take, and how it gives it back."""

import contextlib
import ctypes
from pathlib import Path

from dojo import limits

_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h

# What an arena may keep of what was freed at its end. With the default, 128 KiB, a RecordTest gave
# some 200 to 400 KiB back and took them again: 50 to 100 page faults, which take a tenth of it.
_KEPT_BYTES = 1024**2


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
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_THRESHOLD, limits.SMALL_BYTES)
    libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
