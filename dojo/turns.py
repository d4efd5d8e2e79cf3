"""One thread after another: many threads that compute keep others from Python's lock for long.

Whoever wants Python's lock waits for each thread that wants it too, a thousandth of a second for
each. Threads that take turns are one thread to all others.
"""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """A context manager: one thread at a time is within its block. Any thread may use it.

    First come, first served: with a plain lock, who gives it back could take it again at once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards what follows, but for the holder
        self._is_taken = False
        self._waiting = deque[threading.Lock]()  # each is released by who has the turn before
        self._holder = 0  # only a thread itself writes its own number, and takes it away

    def __enter__(self) -> None:
        turn = None
        with self._lock:
            if self._is_taken:
                turn = threading.Lock()
                turn.acquire()
                self._waiting.append(turn)
            self._is_taken = True
        if turn is not None:
            turn.acquire()
        self._holder = threading.get_ident()

    def __exit__(self, *_: object) -> None:
        self._holder = 0
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_taken = False

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
