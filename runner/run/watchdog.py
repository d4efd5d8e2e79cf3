"""What ends a run before it ends by itself: the time limit, a cancelled call, a full disk."""

import time
from collections.abc import Callable
from enum import Enum

from dojo.engine.client import ANSWER_SECONDS
from dojo.errors import EngineUnavailable

# A run shorter than this costs no look at the disk but the one at its end.
LOOK_SECONDS = 0.25
# A look at a sandbox of 50,000 files takes a quarter of a second: most of the time then has
# to be left to the runs themselves.
_DISK_SHARE = 0.1


class Ended(Enum):
    """Who ended a run."""

    BY_ITSELF = "by itself"
    TIMED_OUT = "timed out"
    CANCELLED = "cancelled"
    DISK = "disk"


class Guard:
    """Watches one run, and kills it when it has to end.

    `kill` answers whether the run was still there to be killed. `disk` says which limit of the
    disk is exceeded, or None. Whoever follows the run calls `begin()` once and `look()` as often
    as that says; `ended` and `reason` tell afterwards who ended it. `cancel()` may come from any
    thread at any time, also before the run.
    """

    def __init__(
        self, kill: Callable[[], bool], disk: Callable[[], str | None], max_seconds: int
    ) -> None:
        self.ended = Ended.BY_ITSELF
        self.reason = ""
        self.is_cancelled = False
        self._kill = kill
        self._disk = disk
        self._max_seconds = max_seconds
        self._end = 0.0
        self._killed = 0.0
        self._next_look = 0.0
        self._next_disk = 0.0

    def cancel(self) -> None:
        """End the run, because nobody waits for it any more."""
        self.is_cancelled = True

    def begin(self) -> None:
        """Take note that the run begins."""
        now = time.monotonic()
        self._end = now + self._max_seconds
        self._next_look = min(now + LOOK_SECONDS, self._end)
        self._next_disk = now + LOOK_SECONDS

    def look(self) -> float:
        """End the run if it has to end; return how many seconds may pass until the next look.

        Raises EngineUnavailable if a run that was killed does not end.
        """
        now = time.monotonic()
        if now >= self._next_look:
            if self.ended is Ended.BY_ITSELF:
                self._end_if_it_must(now)
            elif now > self._killed + ANSWER_SECONDS:
                raise EngineUnavailable("a run that was killed did not end")
            now = time.monotonic()
            self._next_look = now + LOOK_SECONDS
            if self.ended is Ended.BY_ITSELF:
                self._next_look = max(now, min(self._next_look, self._end))
        return self._next_look - now

    def _end_if_it_must(self, now: float) -> None:
        if self.is_cancelled:
            self._finish(Ended.CANCELLED, "the call was cancelled")
        elif now >= self._end:
            self._finish(Ended.TIMED_OUT, f"it took longer than {self._max_seconds} s")
        elif now >= self._next_disk:
            if (reason := self._disk()) is not None:
                self._finish(Ended.DISK, f"it was ended: {reason}")
            looked_seconds = time.monotonic() - now
            self._next_disk = now + max(LOOK_SECONDS, looked_seconds / _DISK_SHARE)

    def _finish(self, ended: Ended, reason: str) -> None:
        if self._kill():
            self.ended, self.reason = ended, reason
            self._killed = time.monotonic()
