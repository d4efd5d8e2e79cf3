"""The only channel that announces changes of katas to other parts of the storer."""

import threading
from collections.abc import Callable

Subscriber = Callable[[str], object]


class Changes:
    """Tells subscribers which kata changed. Any thread may use it; a lock guards the list."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscribers: tuple[Subscriber, ...] = ()

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call `subscriber` with the kata's id after each change, in the thread that changed it.

        The subscriber must neither block nor raise.
        """
        with self._lock:
            self._subscribers = (*self._subscribers, subscriber)

    def publish(self, kata_id: str) -> None:
        """Announce a change of a kata.

        It got lights, avatars or options, was created, replaced, deleted or archived.
        Call this when the change is visible, without the lock on the kata's folder.
        """
        for subscriber in self._subscribers:
            subscriber(kata_id)
