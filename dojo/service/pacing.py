"""Paces large messages, so that they leave time for small ones.

gRPC copies a whole message on the event loop's thread, which serves all calls: 45 MiB take it 50 ms
and more. One after another of them would leave no time for anything else.
"""

import asyncio
from collections.abc import Awaitable, Callable

from dojo import limits


class Pace:
    """When the next large message has its turn. Belongs to the event loop's thread."""

    def __init__(
        self,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`clock` returns seconds; that of the event loop if there is none."""
        self._clock = clock
        self._sleep = sleep
        self._free_at = 0.0

    async def turn(self, size: int) -> None:
        """Wait until a message of `size` bytes may be sent, or go on to be worked at.

        A small one does not wait; a large one for the large ones before it.
        """
        if size <= limits.SMALL_BYTES:
            return
        now = self._clock() if self._clock is not None else asyncio.get_running_loop().time()
        turn = max(now, self._free_at)
        self._free_at = turn + size / limits.LARGE_MESSAGES_BYTES_PER_SECOND
        if turn > now:
            await self._sleep(turn - now)
