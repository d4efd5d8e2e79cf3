"""Bounds how many messages are received at once: gRPC holds each in memory before any code of ours.

gRPC tells a message's size only when all of it is there. What nobody has asked for yet stays with
its sender, as the flow control of HTTP/2 has it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from dojo import limits
from dojo.errors import MemoryExhausted

T = TypeVar("T")


class Receiving:
    """The messages that arrive. Belongs to the event loop's thread."""

    def __init__(self, limit: int) -> None:
        """Let as many messages arrive at once as a service may that may take `limit` bytes."""
        received = limit * limits.RECEIVED_MEMORY_PERCENT // 100
        messages = max(1, received // limits.MESSAGE_BYTES // 2)
        self._fast = asyncio.Semaphore(messages)
        self._slow_left = messages

    async def one(self, read: Callable[[], Awaitable[T]]) -> T:
        """Return the message that `read` receives, together with few others.

        Soon a slow message no longer holds up the others: then there may be few slow ones, and more
        raise MemoryExhausted. So does one that does not arrive in time.
        """
        await self._fast.acquire()
        is_slow = False
        loop = asyncio.get_running_loop()

        def become_slow() -> None:
            nonlocal is_slow
            if self._slow_left:
                self._slow_left -= 1
                self._fast.release()
                is_slow = True
                timeout.reschedule(loop.time() + limits.RECEIVE_SECONDS)
            else:
                timeout.reschedule(loop.time())

        timer = loop.call_later(limits.FAST_RECEIVE_SECONDS, become_slow)
        try:
            async with asyncio.timeout(None) as timeout:
                return await read()
        except TimeoutError:
            raise MemoryExhausted("the request takes too long to arrive") from None
        finally:
            timer.cancel()
            if is_slow:
                self._slow_left += 1
            else:
                self._fast.release()
