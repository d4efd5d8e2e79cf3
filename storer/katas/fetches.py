"""Fetches of katas from other machines: each is made once, for all who wait for it.

A fetch goes on when who began it leaves. A kata that takes longer to fetch than callers wait would
else never be there: each of them would begin again.
"""

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from dojo import limits, waits
from dojo.waits import CallWork


class Fetches:
    """The fetches that go on. Any thread may use it; a lock guards them."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(limits.MAX_FETCHES, thread_name_prefix="fetch")
        self._lock = threading.Lock()
        self._going: dict[tuple[str, bool], Future[bool]] = {}

    def make(self, kata_id: str, work: Callable[[], bool], *, importing: bool) -> bool:
        """Return what `work` returns, or what that of another call does that fetches the kata.

        Raises what it raises, and CallEnded if the caller leaves.
        """
        key = kata_id, importing
        with self._lock:
            future = self._going.get(key)
            if future is None:
                future = self._going[key] = self._threads.submit(self._make, key, work)
        return waits.wait_for(future)

    def _make(self, key: tuple[str, bool], work: Callable[[], bool]) -> bool:
        def make() -> bool:
            waits.work_for(CallWork(lambda: True))  # it waits for locks no longer than a call
            return work()

        try:
            return contextvars.copy_context().run(make)
        finally:
            with self._lock:
                del self._going[key]
