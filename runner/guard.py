"""What ends a run before it ends by itself: the time limit, a cancelled call, a full disk."""

import threading
import time
from collections.abc import Callable
from enum import Enum
from typing import Self

import structlog

_log = structlog.get_logger()

# A run shorter than this costs no look at the disk but the one at its end.
DISK_SECONDS = 0.25
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
    """Watches one run from a thread of its own, and kills it when it has to end.

    `kill` answers whether the run was still there to be killed. `disk` says which limit of
    the disk is exceeded, or None. A context manager around the run; `ended` and `reason` tell
    afterwards who ended it. `cancel()` may come from any thread at any time, also before the run.
    """

    def __init__(
        self, kill: Callable[[], bool], disk: Callable[[], str | None], max_seconds: int
    ) -> None:
        self.ended = Ended.BY_ITSELF
        self.reason = ""
        self._kill = kill
        self._disk = disk
        self._max_seconds = max_seconds
        self._woken = threading.Event()
        self._is_over = False
        self._is_cancelled = False
        self._thread = threading.Thread(target=self._run, name="guard", daemon=True)

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody waits for the run any more."""
        return self._is_cancelled

    def cancel(self) -> None:
        """End the run, because nobody waits for it any more."""
        self._is_cancelled = True
        self._woken.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_over = True
        self._woken.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._watch()
        except Exception as error:  # noqa: BLE001 - a run without a guard must not go on
            _log.warning("guard failed", exc_info=error)
            self._kill()

    def _watch(self) -> None:
        begun = time.monotonic()
        end = begun + self._max_seconds
        disk_pause = DISK_SECONDS
        while True:
            left = end - time.monotonic()
            self._woken.wait(max(0, min(left, disk_pause)))
            if self._is_over:
                return
            if self._is_cancelled:
                self._end(Ended.CANCELLED, "the call was cancelled")
                return
            if time.monotonic() >= end:
                self._end(Ended.TIMED_OUT, f"it took longer than {self._max_seconds} s")
                return
            looked = time.monotonic()
            if (reason := self._disk()) is not None:
                self._end(Ended.DISK, f"it was ended: {reason}")
                return
            disk_pause = max(DISK_SECONDS, (time.monotonic() - looked) / _DISK_SHARE)

    def _end(self, ended: Ended, reason: str) -> None:
        if self._kill():
            self.ended, self.reason = ended, reason
