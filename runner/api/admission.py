"""Admits runs: one at a time for each avatar, and a limited number in all.

Runs that wait hold no thread. They are admitted first come, first served.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext

from dojo.errors import RunsExhausted

# The weight of the newest run in the average time that runs hold a slot.
_NEWEST_WEIGHT = 0.1


class Admission:
    """Admits runs. Belongs to one event loop."""

    def __init__(
        self,
        max_concurrent_runs: int,
        max_waiting_runs: int,
        while_waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Each run that waits does so inside a context of `while_waiting`."""
        self._waiting = 0
        self._max_running = max_concurrent_runs
        self._max_waiting = max_waiting_runs
        self._average_seconds = 1.0
        self._while_waiting = while_waiting
        self._slots = asyncio.Semaphore(max_concurrent_runs)
        self._avatars: dict[tuple[str, str], asyncio.Lock] = {}
        self._interested: dict[tuple[str, str], int] = {}

    @asynccontextmanager
    async def turn(self, kata_id: str, avatar: str) -> AsyncIterator[None]:
        """Wait for the avatar's earlier runs to end; hold its turn.

        Raises RunsExhausted at once if too many runs wait.
        """
        key = (kata_id, avatar)
        lock = self._avatars.setdefault(key, asyncio.Lock())
        self._interested[key] = self._interested.get(key, 0) + 1
        try:
            with self._waiting_if(needed=lock.locked()):
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
        """Wait for a slot; hold it. The caller has to hold the avatar's turn already.

        Otherwise runs that wait for their turn would hold slots. Raises RunsExhausted at once if
        too many runs wait.
        """
        with self._waiting_if(needed=self._slots.locked()):
            await self._slots.acquire()
        begun = time.monotonic()
        try:
            yield
        finally:
            seconds = time.monotonic() - begun
            self._average_seconds += _NEWEST_WEIGHT * (seconds - self._average_seconds)
            self._slots.release()

    @contextmanager
    def _waiting_if(self, *, needed: bool) -> Iterator[None]:
        """Count a run that waits, if it needs to wait; raise RunsExhausted if too many do."""
        if not needed:
            yield
            return
        if self._waiting >= self._max_waiting:
            seconds = self._average_seconds * self._waiting / self._max_running
            raise RunsExhausted(self._waiting, max(1.0, seconds))
        self._waiting += 1
        try:
            with self._while_waiting():
                yield
        finally:
            self._waiting -= 1
