"""Paces large messages, so that they leave time for small ones.

gRPC copies a whole message on the event loop's thread, which serves all calls: 45 MiB take it 80 ms
and more. One after another of them would leave no time for anything else.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext

from dojo import limits


class Pace:
    """When the next large message has its turn. Belongs to the event loop's thread.

    Those that stop all other calls for long have a queue of their own, in which each counts for
    more than its size: smaller ones do not wait for their turns. The memory that they hold
    meanwhile is shared with all.
    """

    def __init__(
        self,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`clock` returns seconds; that of the event loop if there is none."""
        self._quick = _Queue(clock, sleep)
        self._long = _Queue(clock, sleep)

    async def turn(self, size: int, *, is_refused: bool = False) -> None:
        """Wait until a message of `size` bytes may be sent, or go on to be worked at or refused.

        A small one does not wait; a large one for the large ones before it. Of those that are
        refused, one at a time is among these: what is worked at holds memory until then.
        """
        if size <= limits.SMALL_BYTES:
            return
        seconds = size / limits.LARGE_MESSAGES_BYTES_PER_SECOND
        queue = self._quick
        if size > limits.QUICK_MESSAGE_BYTES:
            queue, seconds = self._long, seconds * size / limits.QUICK_MESSAGE_BYTES
        await queue.turn(seconds, is_refused=is_refused)


class _Queue:
    """First come, first served. Who leaves before its turn keeps nobody waiting."""

    def __init__(
        self, clock: Callable[[], float] | None, sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._first = asyncio.Lock()
        self._first_refused = asyncio.Lock()
        self._free_at = 0.0

    async def turn(self, seconds: float, *, is_refused: bool) -> None:
        """Wait for one's turn, which keeps the next one waiting for so many seconds."""
        async with self._first_refused if is_refused else nullcontext(), self._first:
            if (left := self._free_at - self._now()) > 0:
                await self._sleep(left)
            self._free_at = max(self._now(), self._free_at) + seconds

    def _now(self) -> float:
        return self._clock() if self._clock is not None else asyncio.get_running_loop().time()
