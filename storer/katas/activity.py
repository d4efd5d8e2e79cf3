"""A count of the calls that use katas now, for background work that waits for a quiet moment."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ActiveCalls:
    """Counts the calls in progress. Any thread may use it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count a call for the duration of the block."""
        with self._changed:
            self._count += 1
        try:
            yield
        finally:
            with self._changed:
                self._count -= 1
                if not self._count:
                    self._changed.notify_all()

    @property
    def count(self) -> int:
        """How many calls are in progress."""
        return self._count

    def wait_until_none(self, seconds: float) -> None:
        """Wait until no call is in progress, but at most `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: not self._count, seconds)
