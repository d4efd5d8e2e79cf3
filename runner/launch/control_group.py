"""What the kernel tells of a container's control group, through files that the launcher opened.

The files are those of either version of control groups. Where a kernel lacks one, what it would
have told is None.
"""

import contextlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

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

A = TypeVar("A", int, float)


@dataclass(frozen=True)
class Usage:
    """What a run used: None is what the kernel did not count.

    `processor_seconds` is the time of all processors together, `peak_memory_bytes` the most memory
    at once, caches of files included.
    """

    processor_seconds: float | None
    peak_memory_bytes: int | None
    written_bytes: int | None


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

    def begin_usage(self) -> Callable[[], Usage]:
        """Begin to count; return a function that says what was used since."""
        processor_seconds = self._processor_seconds()
        written_bytes = self._written_bytes()
        counts_peak = self._begin_peak()

        def usage() -> Usage:
            return Usage(
                processor_seconds=_difference(self._processor_seconds(), processor_seconds),
                peak_memory_bytes=self._number(*_PEAKS) if counts_peak else None,
                written_bytes=_difference(self._written_bytes(), written_bytes),
            )

        return usage

    def close(self) -> None:
        """Close the files."""
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files.clear()

    def _processor_seconds(self) -> float | None:
        if (nanoseconds := self._number("cpuacct.usage")) is not None:
            return nanoseconds / _NANOSECONDS
        microseconds = self._numbers("cpu.stat").get("usage_usec")
        return None if microseconds is None else microseconds / _MICROSECONDS

    def _written_bytes(self) -> int | None:
        """Return how many bytes were written to disks; version 1 does not count what is cached."""
        if "io.stat" not in self._files:
            return None
        return sum(map(int, re.findall(r"wbytes=(\d+)", self._text("io.stat"))))

    def _begin_peak(self) -> bool:
        """Begin to look for the most memory that is used; say whether the kernel can."""
        for name in _PEAKS:
            if name in self._files:
                with contextlib.suppress(OSError):  # an older kernel's file can't be written
                    os.pwrite(self._files[name], b"0", 0)
                    return True
        return False

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


def _difference(now: A | None, before: A | None) -> A | None:
    return None if now is None or before is None else now - before
