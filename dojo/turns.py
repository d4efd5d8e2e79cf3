"""One thread after another: many threads that compute keep others from Python's lock for long.

Whoever wants Python's lock waits for each thread that wants it too, a thousandth of a second for
each. Threads that take turns are one thread to all others.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """A context manager: one thread at a time is within its block. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holder = 0  # only a thread itself writes its own number, and takes it away

    def __enter__(self) -> None:
        self._lock.acquire()
        self._holder = threading.get_ident()

    def __exit__(self, *_: object) -> None:
        self._holder = 0
        self._lock.release()

    @contextmanager
    def given_up(self) -> Iterator[None]:
        """Let other threads have their turns within the block, if it is this thread's turn now."""
        if self._holder != threading.get_ident():
            yield
            return
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()
