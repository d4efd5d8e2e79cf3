"""What the kernel tells of a container's control group, through files that the launcher opened.

The files are those of either version of control groups. Where a kernel lacks one, what it would
have told is None.
"""

import contextlib
import os
import re
from collections.abc import Mapping

_READ_BYTES = 16 * 1024
_EVENTS = ("memory.oom_control", "memory.events")
_USAGES = ("memory.usage_in_bytes", "memory.current")
_PEAKS = ("memory.max_usage_in_bytes", "memory.peak")
# Pages of files and the kernel's caches of them: the kernel takes them back when it needs room.
_RECLAIMABLE = (
    ("total_inactive_file", "total_active_file"),
    (
        "inactive_file",
        "active_file",
        "slab_reclaimable",
    ),
)
_NANOSECONDS, _MICROSECONDS = 1_000_000_000, 1_000_000


class ControlGroup:
    """The files of a control group. Any thread may read them, until they are closed."""

    def __init__(self, files: Mapping[str, int]) -> None:
        """`files` are the descriptors of files, by their names."""
        self._files = dict(files)

    def killed_for_memory(self) -> int:
        """Return how many processes the kernel has killed for lack of memory, since the start."""
        return self._numbers(*_EVENTS).get("oom_kill", 0)

    def held_bytes(self) -> int:
        """Return how much memory is held that the kernel can't take back."""
        found = self._numbers("memory.stat")
        names = _RECLAIMABLE[0] if _RECLAIMABLE[0][0] in found else _RECLAIMABLE[1]
        return (self._number(*_USAGES) or 0) - sum(found.get(name, 0) for name in names)

    def processor_seconds(self) -> float | None:
        """Return how long processors have worked, since the start."""
        if (nanoseconds := self._number("cpuacct.usage")) is not None:
            return nanoseconds / _NANOSECONDS
        microseconds = self._numbers("cpu.stat").get("usage_usec")
        return None if microseconds is None else microseconds / _MICROSECONDS

    def begin_peak(self) -> bool:
        """Begin to look for the most memory that is used; say whether the kernel can."""
        for name in _PEAKS:
            if name in self._files:
                with contextlib.suppress(OSError):  # an older kernel's file can't be written
                    os.pwrite(self._files[name], b"0", 0)
                    return True
        return False

    def peak_bytes(self) -> int | None:
        """Return the most memory that was used since `begin_peak()`, caches of files included."""
        return self._number(*_PEAKS)

    def close(self) -> None:
        """Close the files."""
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files.clear()

    def _text(self, *names: str) -> str:
        for name in names:
            if name in self._files:
                with contextlib.suppress(OSError):  # the group is gone, with its container
                    return os.pread(self._files[name], _READ_BYTES, 0).decode()
        return ""

    def _number(self, *names: str) -> int | None:
        text = self._text(*names).strip()
        return int(text) if text.isdecimal() else None

    def _numbers(self, *names: str) -> dict[str, int]:
        return {
            name: int(number)
            for name, number in re.findall(r"(?m)^(\w+) (\d+)$", self._text(*names))
        }
