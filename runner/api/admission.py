"""Which runs may go on: one at a time for an avatar, and so many in all.

Those that wait hold no thread. They are let in first come, first served.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext

from dojo.errors import RunsExhausted

# How much of the average time in a slot the newest run makes up.
_NEWEST_SHARE = 0.1


class Admission:
    """Lets runs in. Belongs to one event loop."""

    def __init__(
        self,
        max_concurrent_runs: int,
        max_waiting_runs: int,
        held: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """`held` is entered while a run waits."""
        self._waiting = 0
        self._max_running = max_concurrent_runs
        self._max_waiting = max_waiting_runs
        self._average_seconds = 1.0
        self._held = held
        self._slots = asyncio.Semaphore(max_concurrent_runs)
        self._avatars: dict[tuple[str, str], asyncio.Lock] = {}
        self._interested: dict[tuple[str, str], int] = {}

    @asynccontextmanager
    async def turn(self, kata_id: str, avatar: str) -> AsyncIterator[None]:
        """Wait for the avatar's earlier runs to be done with; hold its turn.

        Raises RunsExhausted at once if too many wait already.
        """
        key = (kata_id, avatar)
        lock = self._avatars.setdefault(key, asyncio.Lock())
        self._interested[key] = self._interested.get(key, 0) + 1
        try:
            with self._waits(is_needed=lock.locked()):
                await lock.acquire()
            try:
                yield
            finally:
                lock.release()
        finally:
            self._interested[key] -= 1
            if self._interested[key] == 0:
                del self._interested[key], self._avatars[key]

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a slot; hold it. To be called with the turn: who waits for it takes no slot.

        Raises RunsExhausted at once if too many wait already.
        """
        with self._waits(is_needed=self._slots.locked()):
            await self._slots.acquire()
        begun = time.monotonic()
        try:
            yield
        finally:
            seconds = time.monotonic() - begun
            self._average_seconds += _NEWEST_SHARE * (seconds - self._average_seconds)
            self._slots.release()

    @contextmanager
    def _waits(self, *, is_needed: bool) -> Iterator[None]:
        if not is_needed:
            yield
            return
        if self._waiting >= self._max_waiting:
            seconds = self._average_seconds * self._waiting / self._max_running
            raise RunsExhausted(self._waiting, max(1.0, seconds))
        self._waiting += 1
        try:
            with self._held():
                yield
        finally:
            self._waiting -= 1
