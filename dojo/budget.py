"""A budget: how much one call may take of what comes in, before any of it is held.

Every reader of foreign data draws on the budget of its call: tars, compressed streams, git objects,
JSON, lines that are compared. What is inside data can be a million times as large as the data.
To take from a budget ends the work of a call that nobody waits for any more.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from dojo import waits

# Reading a clock for each small entry would take longer than reading the entry.
_ENTRIES_PER_CLOCK = 256


class BudgetExceeded(Exception):
    """A call would take more than its budget. `reason` names the limit, for people."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Budget:
    """The bytes, entries, depth and seconds that are left to one call. For one thread at a time.

    A limit that is None is not checked here. Whatever takes bytes, entries or time raises CallEnded
    if the thread works for a call that has ended.
    """

    def __init__(
        self,
        *,
        max_bytes: int | None = None,
        max_entries: int | None = None,
        max_depth: int | None = None,
        max_seconds: float | None = None,
    ) -> None:
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._max_depth = max_depth
        self._max_seconds = max_seconds
        self._deadline = None if max_seconds is None else time.monotonic() + max_seconds
        self._bytes = 0
        self._entries = 0
        self._depth = 0

    @property
    def bytes_left(self) -> int | None:
        """How many bytes may still be taken; None if there is no limit."""
        return None if self._max_bytes is None else self._max_bytes - self._bytes

    def take_bytes(self, count: int) -> None:
        """Take bytes before they are read or expanded; raise BudgetExceeded if too few are left."""
        if count < 0:
            raise ValueError("a number of bytes is not negative")
        if self._max_bytes is not None and count > self._max_bytes - self._bytes:
            raise BudgetExceeded(f"more than {self._max_bytes} bytes in all")
        waits.check()
        self._bytes += count

    def take_entry(self) -> None:
        """Take one entry: a file, a git object, a line; raise BudgetExceeded if none is left."""
        if self._max_entries is not None and self._entries >= self._max_entries:
            raise BudgetExceeded(f"more than {self._max_entries} entries in all")
        self._entries += 1
        if self._entries % _ENTRIES_PER_CLOCK == 0:
            self.check_time()

    @contextmanager
    def one_deeper(self) -> Iterator[None]:
        """Enter what is inside an entry; raise BudgetExceeded if that is too deep."""
        if self._max_depth is not None and self._depth >= self._max_depth:
            raise BudgetExceeded(f"more than {self._max_depth} levels deep")
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def check_time(self) -> None:
        """Raise BudgetExceeded if the time is over."""
        waits.check()
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise BudgetExceeded(f"longer than {self._max_seconds:g} seconds")
