"""Bounds how many messages are received at once: gRPC holds each in memory before any code of ours.

gRPC tells a message's size only when all of it is there, and what it has begun to receive can't be
stopped but by ending the call. Almost all messages are small and there at once, so each may begin
to arrive. What still arrives a moment later counts as large, and few may.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TypeVar

from dojo import limits
from dojo.errors import MemoryExhausted

T = TypeVar("T")

_REQUEST_BYTES: ContextVar[int] = ContextVar("request_bytes")


def note_request_bytes(size: int) -> None:
    """Note how many bytes the request has of the call that runs in this context."""
    _REQUEST_BYTES.set(size)


def request_bytes() -> int:
    """Return how many bytes arrived as this call's request.

    protobuf would tell by making them again, while nobody else gets Python's lock.
    """
    return _REQUEST_BYTES.get()


class Receiving:
    """The messages that arrive. Belongs to the event loop's thread."""

    def __init__(self, limit: int) -> None:
        """Let as many large messages arrive at once as a service may that may take `limit` bytes.

        How much the others can be is bounded by how fast a network is.
        """
        received = limit * limits.RECEIVED_MEMORY_PERCENT // 100
        self._most_large = max(1, received // limits.MESSAGE_BYTES)
        # What ends the arrival of each large message, and since when that goes on; oldest first.
        self._large: dict[asyncio.Timeout, float] = {}

    async def one(self, read: Callable[[], Awaitable[T]]) -> T:
        """Return the message that `read` receives.

        Raises MemoryExhausted for a large one if too many large ones arrive already, and none of
        them is slow; a slow one is given up for it. So is one that does not arrive in time.
        """
        loop = asyncio.get_running_loop()

        def become_large() -> None:
            now = loop.time()
            if len(self._large) >= self._most_large and not self._give_up_slow(now):
                timeout.reschedule(now)
            else:
                self._large[timeout] = now
                timeout.reschedule(now + limits.RECEIVE_SECONDS)

        timer = loop.call_later(limits.SMALL_RECEIVE_SECONDS, become_large)
        try:
            async with asyncio.timeout(None) as timeout:
                return await read()
        except TimeoutError:
            raise MemoryExhausted("the request takes too long to arrive") from None
        finally:
            timer.cancel()
            self._large.pop(timeout, None)

    def _give_up_slow(self, now: float) -> bool:
        """Give up the large message that has arrived for the longest, if it is slow."""
        oldest, since = next(iter(self._large.items()))
        if now - since < limits.FAST_RECEIVE_SECONDS:
            return False
        del self._large[oldest]
        if not oldest.expired():
            oldest.reschedule(now)
        return True
