"""So many of something in a second, for all threads together: they leave time to others."""

import threading
import time
from collections.abc import Callable


class Pace:
    """When the next thread has its turn. Any thread may use it."""

    def __init__(
        self,
        per_second: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Let `per_second` go on in a second; `clock` returns seconds."""
        self._per_second = per_second
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free_at = 0.0

    def take(self, count: int) -> None:
        """Take a turn for so many, and wait until those before have had theirs."""
        with self._lock:
            now = self._clock()
            turn = max(now, self._free_at)
            self._free_at = turn + count / self._per_second
        if turn > now:
            self._sleep(turn - now)
