"""The memory that all calls of a service have together.

A call takes its part before it holds what is large, and a call that would take more than is left is
refused. gRPC holds a message while it receives it, and tells its size only afterwards; so a bounded
number of messages is received at the same time.
"""

import asyncio
import contextlib
import ctypes
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from dojo import limits
from dojo.errors import MemoryExhausted

_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)

T = TypeVar("T")

_M_MMAP_THRESHOLD = -3  # of malloc.h


def limit_bytes() -> int:
    """Return the container's memory limit; a default if it has none or a larger one."""
    for path in _LIMITS:
        with contextlib.suppress(OSError, ValueError):  # the file is absent, or says `max`
            return min(int(path.read_text()), limits.MEMORY_BYTES)
    return limits.MEMORY_BYTES


def return_freed_blocks() -> None:
    """Have the C library give large blocks back to the kernel as soon as they are freed.

    By default it keeps blocks of up to 32 MiB for each of many threads, once one was freed.
    """
    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, limits.SMALL_BYTES)


class Memory:
    """What is left of the calls' share. Belongs to the event loop's thread."""

    def __init__(self, limit: int) -> None:
        """Share the memory of a service that may take `limit` bytes."""
        self._left = limit * limits.CALLS_MEMORY_PERCENT // 100
        received = limit * limits.RECEIVED_MEMORY_PERCENT // 100
        messages = max(1, received // limits.MESSAGE_BYTES // 2)
        self._fast = asyncio.Semaphore(messages)
        self._slow_left = messages

    async def receive(self, read: Callable[[], Awaitable[T]]) -> T:
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

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Take bytes for the block; raise MemoryExhausted if too few are left."""
        if size > self._left:
            raise MemoryExhausted("other calls hold large files")
        self._left -= size
        try:
            yield
        finally:
            self._left += size
