"""A budget: how much one call may take of what comes in, before any of it is held.

Every reader of foreign data draws on the budget of its call: tars, compressed streams, git objects,
JSON, lines that are compared. What is inside data can be a million times as large as the data.

Whoever draws on a budget also stops when the call has ended: the caller left, or its deadline is
over.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from dojo import waits
from dojo.limits import HELD_ENTRY_BYTES
from dojo.shares import Holding


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
        holding: Holding | None = None,
    ) -> None:
        """Have `hold`, and each entry, take memory as `holding`, if that is given."""
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._max_depth = max_depth
        self._max_seconds = max_seconds
        self._holding = holding
        self._deadline = None if max_seconds is None else time.monotonic() + max_seconds
        self._bytes = 0
        self._entries = 0
        self._depth = 0

    def share(self) -> Budget:
        """Return a budget of what is left, for a part of the work.

        The bytes and entries that the part took are taken from this budget by `take_all_of`.
        """
        part = Budget(max_depth=self._max_depth, holding=self._holding)
        if self._max_bytes is not None:
            part._max_bytes = self._max_bytes - self._bytes
        if self._max_entries is not None:
            part._max_entries = self._max_entries - self._entries
        part._max_seconds, part._deadline = self._max_seconds, self._deadline
        return part

    def take_all_of(self, part: Budget) -> None:
        """Take the bytes and entries that were taken of another; raise BudgetExceeded."""
        self.take_bytes(part._bytes)
        self._entries += part._entries
        if self._max_entries is not None and self._entries > self._max_entries:
            raise BudgetExceeded(f"more than {self._max_entries} entries in all")

    def take_bytes(self, count: int) -> None:
        """Take bytes before they are read or expanded; raise BudgetExceeded if too few are left.

        Raises CallEnded, as all methods do, if nobody waits for the call any more.
        """
        if count < 0:
            raise ValueError("a number of bytes is not negative")
        if self._max_bytes is not None and count > self._max_bytes - self._bytes:
            raise BudgetExceeded(f"more than {self._max_bytes} bytes in all")
        self._bytes += count
        self.check_time()

    def take_entry(self) -> None:
        """Take one entry: a file, a git object, a line; raise BudgetExceeded if none is left."""
        if self._max_entries is not None and self._entries >= self._max_entries:
            raise BudgetExceeded(f"more than {self._max_entries} entries in all")
        self._entries += 1
        self.hold(HELD_ENTRY_BYTES)
        self.check_time()

    def hold(self, size: int) -> None:
        """Hold bytes in memory, or give back a negative number.

        Raises MemoryExhausted if all calls together hold too many.
        """
        if self._holding is not None:
            self._holding.add(size)

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


class NotSmall(Exception):
    """Something has more bytes than its reader wants, who will do without or read it elsewhere."""


class SmallBudget(Budget):
    """The bytes that a reader wants who expects what is small."""

    def take_bytes(self, count: int) -> None:
        """Take bytes before they are read; raise NotSmall if too few are left."""
        try:
            super().take_bytes(count)
        except BudgetExceeded:
            raise NotSmall from None
