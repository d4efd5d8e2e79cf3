"""What a run's program wrote, kept in part, and how it ended."""

from collections.abc import Callable
from dataclasses import dataclass


class Capture:
    """The first bytes of a stream, which people see, and the last, which tell the colour.

    `passed_on` gets each piece of the first as it comes.
    """

    def __init__(self, limit_bytes: int, passed_on: Callable[[bytes], None] | None = None) -> None:
        self.size_bytes = 0
        self._limit_bytes = limit_bytes
        self._passed_on = passed_on
        self._first = bytearray()
        self._last = bytearray()

    def add(self, data: memoryview) -> None:
        """Take the next bytes, keeping what there is room for."""
        self.size_bytes += len(data)
        room = self._limit_bytes - len(self._first)
        if room > 0:
            self._first += data[:room]
            if self._passed_on is not None:
                self._passed_on(bytes(data[:room]))
            data = data[room:]
        if data:
            self._last += data[-self._limit_bytes :]
            del self._last[: -self._limit_bytes]

    @property
    def content(self) -> bytes:
        """The first bytes."""
        return bytes(self._first)

    @property
    def both_ends(self) -> bytes:
        """The first bytes and the last: a summary comes last, however much came before."""
        return bytes(self._first + self._last)

    @property
    def is_truncated(self) -> bool:
        """Whether there was more than the first bytes."""
        return self.size_bytes > len(self._first)


@dataclass(frozen=True)
class Exit:
    """How a run's program ended and what it wrote.

    `status` is its exit status, 128 + N after signal N. `duration_seconds` is from its start
    to its end. `was_killed` says that everything in its container was killed at once, and not
    by its guard; `is_status_spoilt` that the run wrote where its exit status is told, which is
    not known then.
    """

    stdout: Capture
    stderr: Capture
    status: int
    duration_seconds: float
    is_out_of_memory: bool = False
    was_killed: bool = False
    is_status_spoilt: bool = False
