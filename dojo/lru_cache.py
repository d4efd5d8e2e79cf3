"""A cache with a bounded weight: the least recently used entry goes first."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


def _one(_: Any) -> int:
    return 1


class LruCache(Generic[K, V]):
    """Values by key, of at most `capacity` together. Any thread may use it: a lock guards it."""

    def __init__(self, capacity: int, weigh: Callable[[V], int] = _one) -> None:
        """Each value counts as much as `weigh` says of it when it is put here."""
        self._capacity = capacity
        self._weigh = weigh
        self._lock = threading.Lock()
        self._values: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._weight = 0

    def get(self, key: K) -> V | None:
        """Return the key's value, which counts as a use; None if there is none."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: K, value: V) -> None:
        """Set the key's value, and drop the least recently used ones that are too much then."""
        weight = self._weigh(value)
        with self._lock:
            self._drop(key)
            self._values[key] = value, weight
            self._weight += weight
            while self._weight > self._capacity:
                self._drop(next(iter(self._values)))

    def discard(self, key: K) -> None:
        """Drop the key's value, if there is one."""
        with self._lock:
            self._drop(key)

    def _drop(self, key: K) -> None:
        if key in self._values:
            self._weight -= self._values.pop(key)[1]
