"""A background thread that works until it is stopped."""

import threading
from abc import ABC, abstractmethod


class Worker(ABC):
    """Works in a thread of its own, which looks at `_stopped` between two pieces of its work."""

    def __init__(self, name: str) -> None:
        """`name` is the thread's."""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the piece of work in progress, and wait for it."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    @abstractmethod
    def _run(self) -> None:
        """Work until `_stopped` is set."""
