"""The shares of a service's memory that calls take before they hold what is large.

Streams last as long as their callers like. So they have shares of their own: slow callers take
nothing that other calls need.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Self

from dojo import limits
from dojo.errors import MemoryExhausted


class Share:
    """Bytes of memory that several calls have together. Any thread may use it."""

    def __init__(self, size_bytes: int, held_by: str) -> None:
        """`held_by` says, for people, who has what is taken."""
        self._left = size_bytes
        self._held_by = held_by
        self._lock = threading.Lock()

    def take(self, size: int) -> None:
        """Take bytes, or give back a negative number; raise MemoryExhausted if too few are left."""
        with self._lock:
            if size > self._left:
                raise MemoryExhausted(self._held_by)
            self._left -= size

    def check(self, size: int) -> None:
        """Raise MemoryExhausted if so many bytes could not be taken now."""
        with self._lock:
            if size > self._left:
                raise MemoryExhausted(self._held_by)

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Take bytes for the block; raise MemoryExhausted if too few are left."""
        self.take(size)
        try:
            yield
        finally:
            self.take(-size)


class Memory:
    """The shares of all calls of a service: what single calls hold, and streams both ways."""

    def __init__(self, limit: int) -> None:
        """Share the memory of a service that may take `limit` bytes."""

        def share(percent: int, least: int, held_by: str) -> Share:
            return Share(max(least, limit * percent // 100), held_by)

        self.calls = share(limits.CALLS_MEMORY_PERCENT, 0, "other calls hold large files")
        self.restores = share(
            limits.RESTORES_MEMORY_PERCENT, limits.RESTORE_BYTES, "other katas are being restored"
        )
        self.downloads = share(
            limits.DOWNLOADS_MEMORY_PERCENT, limits.DOWNLOAD_BYTES, "other downloads go on"
        )


_CURRENT: ContextVar[Memory | None] = ContextVar("memory", default=None)


def use(memory: Memory | None) -> None:
    """Have what runs in this context take its memory from these shares."""
    _CURRENT.set(memory)


class Restore:
    """What a stream that comes in holds while something of it may arrive. Any thread may use it."""

    def __init__(self, memory: Memory) -> None:
        """Hold it, for what runs in this context. Raises MemoryExhausted."""
        self._share = memory.restores
        self._is_held = False
        self._lock = threading.Lock()
        self.hold()
        _RESTORE.set(self)

    def hold(self) -> None:
        """Hold it, if it was given back; raise MemoryExhausted if too few are left."""
        with self._lock:
            if not self._is_held:
                self._share.take(limits.RESTORE_BYTES)
                self._is_held = True

    def give_back(self) -> None:
        """Give it back, if it is held."""
        with self._lock:
            if self._is_held:
                self._share.take(-limits.RESTORE_BYTES)
                self._is_held = False


_RESTORE: ContextVar[Restore | None] = ContextVar("restore", default=None)


def hold_restore() -> None:
    """Have the stream of this context, if there is one, hold its memory: more is to arrive.

    Raises MemoryExhausted.
    """
    if (restore := _RESTORE.get()) is not None:
        restore.hold()


def give_back_restore() -> None:
    """Give back what the stream of this context holds, if there is one: it waits for others."""
    if (restore := _RESTORE.get()) is not None:
        restore.give_back()


def check_downloading(size: int = 0) -> None:
    """Raise MemoryExhausted if `downloading` would now: before anything is done for a stream."""
    if (memory := _CURRENT.get()) is not None:
        memory.downloads.check(limits.DOWNLOAD_BYTES + size)


@contextmanager
def downloading(size: int = 0) -> Iterator[None]:
    """Take what a stream to a caller holds, and `size` bytes more. Raises MemoryExhausted."""
    memory = _CURRENT.get()
    if memory is None:
        yield
        return
    with memory.downloads.taken(limits.DOWNLOAD_BYTES + size):
        yield


class Holding:
    """What one piece of work holds, a context manager: at its end everything is given back.

    A thread that works for no call takes nothing.
    """

    def __init__(self) -> None:
        self._share: Share | None = None
        self._size = 0

    def __enter__(self) -> Self:
        memory = _CURRENT.get()
        self._share = None if memory is None else memory.calls
        return self

    def __exit__(self, *_: object) -> None:
        self.add(-self._size)

    def add(self, size: int) -> None:
        """Take bytes, or give back a negative number; raise MemoryExhausted if too few are left."""
        if self._share is not None:
            self._share.take(size)
            self._size += size
