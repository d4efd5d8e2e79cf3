"""How a thread that works for a call waits for somebody else: a lock, the archive.

The thread gives up its place among those that work at the same time, so that another call can have
it, and stops waiting when nobody wants the answer any more. A thread that works for no call, such
as the archiver's, simply blocks.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from dojo import limits, shares

T = TypeVar("T")

# How often a thread that waits for a permit finds out whether its call has ended.
_CHECK_SECONDS = 0.5


class CallEnded(Exception):
    """Nobody waits for the answer any more: the caller left, or its deadline is over."""


class CallWork:
    """What one thread does for one call."""

    __slots__ = ("_give_up_place", "_has_ended", "_waking", "lock_seconds")

    def __init__(
        self,
        give_up_place: Callable[[], bool],
        lock_seconds: float = limits.LOCK_WAIT_SECONDS,
    ) -> None:
        """`give_up_place` says whether the place is given up now; any thread may call it.

        The work waits for one lock no longer than `lock_seconds`.
        """
        self.lock_seconds = lock_seconds
        self._give_up_place = give_up_place
        self._has_ended = False
        self._waking: threading.Event | None = None

    def end(self) -> None:
        """Have the work stop at its next wait or check. Any thread may call this."""
        self._has_ended = True
        if (waking := self._waking) is not None:
            waking.set()

    def check(self) -> None:
        """Raise CallEnded if nobody waits for the answer any more."""
        if self._has_ended:
            raise CallEnded

    def give_up_place(self) -> bool:
        """Let another call work; return False if too many calls wait already."""
        shares.give_back_restore()
        return self._give_up_place()

    @contextmanager
    def woken_by(self, event: threading.Event) -> Iterator[None]:
        """Set `event` if the call ends within the block."""
        self._waking = event
        try:
            self.check()  # after the assignment: `end` sets what it finds there
            yield
        finally:
            self._waking = None


_CURRENT: ContextVar[CallWork | None] = ContextVar("call_work", default=None)


def current() -> CallWork | None:
    """Return what this thread does for a call; None if it works for no call."""
    return _CURRENT.get()


def work_for(work: CallWork) -> None:
    """Have the thread that runs in this context work for a call."""
    _CURRENT.set(work)


def check() -> None:
    """Raise CallEnded if this thread works for a call that has ended. For long loops."""
    if (work := _CURRENT.get()) is not None:
        work.check()


def wait_longer() -> None:
    """Wait for each lock as long as a call about many katas may, which must not miss one."""
    if (work := _CURRENT.get()) is not None:
        work.lock_seconds = limits.MANY_KATAS_LOCK_WAIT_SECONDS


@contextmanager
def one_of(
    semaphore: threading.Semaphore, refusal: Exception, seconds: float | None = None
) -> Iterator[None]:
    """Hold one of a limited number of permits; raise `refusal` after too long a wait for one.

    A call waits for `seconds`, if they are given, or as long as it waits for a lock. Gives up the
    thread's place. Raises CallEnded.
    """
    let_others_work()
    work = _CURRENT.get()
    left_seconds = math.inf
    if work is not None:
        left_seconds = work.lock_seconds if seconds is None else seconds
    while not semaphore.acquire(timeout=_CHECK_SECONDS):
        check()
        left_seconds -= _CHECK_SECONDS
        if left_seconds <= 0:
            raise refusal
    try:
        yield
    finally:
        semaphore.release()


def wait_for(future: Future[T]) -> T:
    """Return the result of what another thread does, or raise its exception.

    Gives up the thread's place. Raises CallEnded if nobody waits for this call's answer any more;
    the other thread goes on.
    """
    work = _CURRENT.get()
    if work is None:
        return future.result()
    let_others_work()
    woken = threading.Event()
    future.add_done_callback(lambda _: woken.set())
    with work.woken_by(woken):
        woken.wait()
    work.check()
    return future.result()


def let_others_work() -> None:
    """Give up this thread's place among those that work, before it waits for something slow.

    The thread keeps its place if too many wait already.
    """
    if (work := _CURRENT.get()) is not None:
        work.give_up_place()
