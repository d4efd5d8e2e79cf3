"""Kills a run that exceeds its time or disk, or whose call is cancelled."""

import time
from collections.abc import Callable
from enum import Enum

from dojo.engine.client import ANSWER_SECONDS
from dojo.errors import EngineUnavailable

# A run shorter than this has its disk checked only at its end.
CHECK_SECONDS = 0.25
# Checking a sandbox of 50,000 files takes a quarter of a second. Checks may take this part of the
# time, so that most of it is left to the runs.
_DISK_SHARE = 0.1


class EndedBy(Enum):
    """What ended a run."""

    ITSELF = "itself"
    TIMEOUT = "timeout"
    CANCELLATION = "cancellation"
    DISK_LIMIT = "disk limit"


class Watchdog:
    """Watches one run, and kills it when it has to end.

    `kill` kills the run, and says whether it still ran. `disk_excess` says which limit of the disk
    is exceeded, or None. The thread that follows the run calls `begin()` once, and then `check()`
    as often as that asks for. Afterwards `ended_by` and `reason` say what ended the run. Any thread
    may call `cancel()` at any time, also before the run.
    """

    def __init__(
        self, kill: Callable[[], bool], disk_excess: Callable[[], str | None], max_seconds: int
    ) -> None:
        self.ended_by = EndedBy.ITSELF
        self.reason = ""
        self.is_cancelled = False
        self._kill = kill
        self._disk_excess = disk_excess
        self._max_seconds = max_seconds
        self._deadline = 0.0
        self._killed = 0.0
        self._next_check = 0.0
        self._next_disk_check = 0.0

    def cancel(self) -> None:
        """Have the run killed: its caller no longer waits for it."""
        self.is_cancelled = True

    def begin(self) -> None:
        """Start the clock: the run begins."""
        now = time.monotonic()
        self._deadline = now + self._max_seconds
        self._next_check = min(now + CHECK_SECONDS, self._deadline)
        self._next_disk_check = now + CHECK_SECONDS

    def check(self) -> float:
        """Kill the run if it has to end; return how many seconds may pass until the next check.

        Raises EngineUnavailable if a run that was killed does not end.
        """
        now = time.monotonic()
        if now >= self._next_check:
            if self.ended_by is EndedBy.ITSELF:
                self._kill_if_due(now)
            elif now > self._killed + ANSWER_SECONDS:
                raise EngineUnavailable("a run that was killed did not end")
            now = time.monotonic()
            self._next_check = now + CHECK_SECONDS
            if self.ended_by is EndedBy.ITSELF:
                self._next_check = max(now, min(self._next_check, self._deadline))
        return self._next_check - now

    def _kill_if_due(self, now: float) -> None:
        if self.is_cancelled:
            self._end(EndedBy.CANCELLATION, "the call was cancelled")
        elif now >= self._deadline:
            self._end(EndedBy.TIMEOUT, f"it took longer than {self._max_seconds} s")
        elif now >= self._next_disk_check:
            if (excess := self._disk_excess()) is not None:
                self._end(EndedBy.DISK_LIMIT, f"it was ended: {excess}")
            check_seconds = time.monotonic() - now
            self._next_disk_check = now + max(CHECK_SECONDS, check_seconds / _DISK_SHARE)

    def _end(self, ended_by: EndedBy, reason: str) -> None:
        if self._kill():
            self.ended_by, self.reason = ended_by, reason
            self._killed = time.monotonic()
