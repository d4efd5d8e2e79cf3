"""The one way in which a change to a kata reaches whoever has to know of it."""

import threading
from collections.abc import Callable

Subscriber = Callable[[str], object]


class Changes:
    """Tells subscribers which kata changed. Any thread may use it; a lock guards who they are."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscribers: tuple[Subscriber, ...] = ()

    def subscribe(self, subscriber: Subscriber) -> None:
        """Have `subscriber` called with a kata's id after each change, in the changer's thread.

        The subscriber may not wait, and may not raise.
        """
        with self._lock:
            self._subscribers = (*self._subscribers, subscriber)

    def publish(self, kata_id: str) -> None:
        """Tell that a kata has new lights or avatars, or was made, replaced, deleted or archived.

        To be called when the change can be seen, and without the lock of the kata's folder.
        """
        for subscriber in self._subscribers:
            subscriber(kata_id)
