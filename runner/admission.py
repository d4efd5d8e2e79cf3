"""Which runs may go on: one at a time for an avatar, and so many in all.

Those that wait hold no thread. They are let in first come, first served.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Admission:
    """Lets runs in. Belongs to one event loop."""

    def __init__(self, max_concurrent_runs: int) -> None:
        self._slots = asyncio.Semaphore(max_concurrent_runs)
        self._avatars: dict[tuple[str, str], asyncio.Lock] = {}
        self._interested: dict[tuple[str, str], int] = {}

    @asynccontextmanager
    async def admitted(self, kata_id: str, avatar: str) -> AsyncIterator[None]:
        """Wait for the avatar's earlier runs to end, and then for a slot; hold both."""
        key = (kata_id, avatar)
        lock = self._avatars.setdefault(key, asyncio.Lock())
        self._interested[key] = self._interested.get(key, 0) + 1
        try:
            # In this order: a run that waits for its own avatar keeps nobody out of a slot.
            async with lock, self._slots:
                yield
        finally:
            self._interested[key] -= 1
            if self._interested[key] == 0:
                del self._interested[key], self._avatars[key]
