"""Admits runs: one at a time for each avatar, and a limited number in all.

Runs that wait hold no thread. They are admitted first come, first served. The runs that wait or go
on are bounded: for each avatar, for each kata, and by the bytes of all their requests.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from functools import partial
from typing import Any

from dojo import limits
from dojo.errors import RunsExhausted, Stopping

# The longest time after which a refused caller is told to come again.
MAX_RETRY_SECONDS = 60.0

# The weight of the newest run in the average time that runs hold a slot.
_NEWEST_WEIGHT = 0.1


# Is told how many runs that wait came before one that waits.
OnWaiting = Callable[[int], None]


class Admission:
    """Admits runs. Belongs to one event loop."""

    def __init__(
        self,
        max_concurrent_runs: int,
        max_waiting_runs: int,
        while_waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Each run that waits does so inside a context of `while_waiting`."""
        # Those that wait, the first first, each with what is told how many are ahead of it.
        self._waiting: dict[asyncio.Task[Any] | None, OnWaiting | None] = {}
        self._is_stopping = False
        self.max_running = max_concurrent_runs
        self._max_waiting = max_waiting_runs
        self._average_seconds = 1.0
        self._while_waiting = while_waiting
        self._slots = asyncio.Semaphore(max_concurrent_runs)
        self._running = 0
        self._avatars: dict[tuple[str, str], asyncio.Lock] = {}
        self._interested: dict[tuple[str, str], int] = {}
        # Those whose run has its answer, and holds the turn until its container is given back.
        self._answered: set[tuple[str, str]] = set()
        self._runs_of: Counter[tuple[str, ...]] = Counter()
        self._request_bytes = 0
        # When the caller that was refused last was told to come again.
        self._promised = 0.0

    def stop(self) -> None:
        """Refuse the runs that wait, and all that come; those that go on are left alone."""
        self._is_stopping = True
        for task in self._waiting:
            if task is not None:
                task.cancel()

    def count_waiting(self) -> int:
        """Return how many runs wait. Any thread may ask."""
        return len(self._waiting)

    def count_running(self) -> int:
        """Return how many runs hold a slot. Any thread may ask."""
        return self._running

    @contextmanager
    def held(self, kata_id: str, avatar: str, request_bytes: int) -> Iterator[None]:
        """Count a run for as long as its request is in memory.

        Raises RunsExhausted at once if the avatar, the kata or all together have too many.
        """
        of_avatar, of_kata = (kata_id, avatar), (kata_id,)
        if (count := self._runs_of[of_avatar]) >= limits.MAX_RUNS_OF_AVATAR:
            reason = f"{count} runs of {avatar} in kata {kata_id} wait or go on already"
            raise RunsExhausted(reason, limits.MAX_RUNS_OF_AVATAR, self._seconds_to_end)
        if (count := self._runs_of[of_kata]) >= limits.MAX_RUNS_OF_KATA:
            reason = f"{count} runs of kata {kata_id} wait or go on already"
            raise RunsExhausted(reason, limits.MAX_RUNS_OF_KATA, self._seconds_to_end)
        if self._request_bytes + request_bytes > limits.MAX_BYTES_OF_RUNS:
            raise RunsExhausted(
                f"the runs that wait or go on have {self._request_bytes} bytes of files already, "
                f"and with {request_bytes} more it would be above {limits.MAX_BYTES_OF_RUNS}",
                limits.MAX_BYTES_OF_RUNS,
                self._promise(),
            )
        self._runs_of.update((of_avatar, of_kata))
        self._request_bytes += request_bytes
        try:
            yield
        finally:
            self._request_bytes -= request_bytes
            for key in (of_avatar, of_kata):
                self._runs_of[key] -= 1
                if not self._runs_of[key]:
                    del self._runs_of[key]

    @asynccontextmanager
    async def turn(
        self, kata_id: str, avatar: str, on_waiting: OnWaiting | None = None
    ) -> AsyncIterator[Callable[[], None]]:
        """Wait for the avatar's earlier runs to end; hold its turn.

        `on_waiting` is told how many of those that wait came before, whenever that changes. The
        holder calls what it gets when its run is answered: the next one waits a moment for the
        container only, and is told nothing. Raises RunsExhausted at once if too many runs wait.
        """
        key = (kata_id, avatar)
        lock = self._avatars.setdefault(key, asyncio.Lock())
        is_next = self._interested.get(key, 0) == 1
        self._interested[key] = self._interested.get(key, 0) + 1
        if is_next and key in self._answered:
            on_waiting = None
        try:
            with self._waiting_if(on_waiting, needed=lock.locked()):
                await lock.acquire()
            try:
                yield partial(self._answered.add, key)
            finally:
                self._answered.discard(key)
                lock.release()
        finally:
            self._interested[key] -= 1
            if self._interested[key] == 0:
                del self._interested[key], self._avatars[key]

    @asynccontextmanager
    async def slot(self, on_waiting: OnWaiting | None = None) -> AsyncIterator[None]:
        """Wait for a slot, as for a turn, and hold it. The caller holds the avatar's turn already.

        Otherwise runs that wait for their turn would hold slots. Raises RunsExhausted at once if
        too many runs wait.
        """
        with self._waiting_if(on_waiting, needed=self._slots.locked()):
            await self._slots.acquire()
        begun = time.monotonic()
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            seconds = time.monotonic() - begun
            self._average_seconds += _NEWEST_WEIGHT * (seconds - self._average_seconds)
            self._slots.release()

    @contextmanager
    def _waiting_if(self, on_waiting: OnWaiting | None, *, needed: bool) -> Iterator[None]:
        """Count a run that waits, if it needs to wait.

        Raises RunsExhausted if too many do, and Stopping if the runner stops.
        """
        if self._is_stopping:
            raise Stopping
        if not needed:
            yield
            return
        if len(self._waiting) >= self._max_waiting:
            reason = f"{len(self._waiting)} runs wait already"
            raise RunsExhausted(reason, self._max_waiting, self._promise())
        task = asyncio.current_task()
        self._waiting[task] = on_waiting
        if on_waiting is not None:
            on_waiting(len(self._waiting) - 1)
        try:
            with self._while_waiting():
                yield
        except asyncio.CancelledError:
            if self._is_stopping:
                raise Stopping from None
            raise
        finally:
            behind = list(self._waiting).index(task)
            del self._waiting[task]
            for ahead, tell in enumerate(self._waiting.values()):
                if tell is not None and ahead >= behind:
                    tell(ahead)

    @property
    def _seconds_of_waiting(self) -> float:
        """In how many seconds the runs that wait now will have begun."""
        return self._average_seconds * len(self._waiting) / self.max_running

    @property
    def _seconds_to_end(self) -> float:
        """In how many seconds a run that waits now will have ended, at least one."""
        return _bounded(self._average_seconds + self._seconds_of_waiting)

    def _promise(self) -> float:
        """Return in how many seconds a refused caller may come again, at least one.

        By then the runs that wait will have begun, and those of the callers that were refused
        before this one: each is told to come one run later.
        """
        now = time.monotonic()
        next_one = self._promised + self._average_seconds / self.max_running
        self._promised = now + _bounded(max(self._seconds_of_waiting, next_one - now))
        return self._promised - now


def _bounded(seconds: float) -> float:
    return min(max(1.0, seconds), MAX_RETRY_SECONDS)
