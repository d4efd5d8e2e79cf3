"""The threads in which calls do the domain's work.

A limited number of them work at the same time. One that waits for somebody else, for a lock or the
archive, gives up its place (`dojo.waits`), so calls that wait hold up no others.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from dojo import limits, waits
from dojo.access import guesses
from dojo.waits import CallWork

P = ParamSpec("P")
T = TypeVar("T")


class CallThreads:
    """Runs the work of calls in threads. Belongs to the event loop's thread."""

    def __init__(self, working: int, name: str) -> None:
        """Let `working` calls work at the same time, in threads of this name."""
        self._loop = asyncio.get_running_loop()
        self._places = asyncio.Semaphore(working)
        self._long_places = asyncio.Semaphore(max(1, working // 2))
        self._threads = ThreadPoolExecutor(working + limits.MAX_WAITING_CALLS, name)
        # How many works have given up their places and are not done. Any thread may count.
        self._waiting = 0
        self._counting = threading.Lock()

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `work` returns, which a thread calls.

        If this is cancelled, the work stops at its next wait for a lock or its next check.
        """
        await self._places.acquire()
        return await self._run(_Place(self, self._places), work, *args, **kwargs)

    async def run_long(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do as `run` does, for long work: at most half of those that work do such."""
        await self._long_places.acquire()
        try:
            await self._places.acquire()
        except BaseException:
            self._long_places.release()
            raise
        place = _Place(self, self._places, self._long_places)
        return await self._run(place, work, *args, **kwargs)

    async def _run(
        self, place: _Place, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        call = CallWork(place.give_up)
        context = contextvars.copy_context()
        context.run(waits.work_for, call)
        # The thread sets this itself: to wrap its future takes a third of the way there and back.
        answer: asyncio.Future[T] = self._loop.create_future()

        def finish(tell: Callable[[Any], None], result: object) -> None:
            place.done()
            if not answer.done():  # else it was cancelled
                tell(result)

        def do() -> None:
            try:
                call.check()
                context.run(guesses.check)
                result = context.run(work, *args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - the caller raises it
                self.in_loop(finish, answer.set_exception, error)
            else:
                self.in_loop(finish, answer.set_result, result)

        self._threads.submit(do)
        try:
            return await answer
        except asyncio.CancelledError:
            call.end()
            raise

    def in_loop(self, call: Callable[..., None], *args: object) -> None:
        """Have the event loop call something, unless the service has stopped."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(call, *args)

    def add_waiting(self) -> bool:
        """Count one more that waits, unless too many do already. Any thread may call this."""
        with self._counting:
            if self._waiting >= limits.MAX_WAITING_CALLS:
                return False
            self._waiting += 1
            return True

    def remove_waiting(self) -> None:
        """Count one less that waits."""
        with self._counting:
            self._waiting -= 1


class _Place:
    """The place of one work among those that work at the same time."""

    __slots__ = ("_is_given_up", "_semaphores", "_threads")

    def __init__(self, threads: CallThreads, *semaphores: asyncio.Semaphore) -> None:
        self._threads = threads
        self._semaphores = semaphores
        self._is_given_up = False

    def give_up(self) -> bool:
        """Let another work have the place. For the thread that does the work.

        Afterwards the work goes on without a place. If it had to wait for one again, it would hold
        up others with the lock that it waited for.
        """
        if not self._is_given_up:
            if not self._threads.add_waiting():
                return False
            self._is_given_up = True
            self._threads.in_loop(self._release)
        return True

    def done(self) -> None:
        """Note that the work is done. For the event loop's thread."""
        if self._is_given_up:
            self._threads.remove_waiting()
        else:
            self._release()

    def _release(self) -> None:
        for semaphore in self._semaphores:
            semaphore.release()
