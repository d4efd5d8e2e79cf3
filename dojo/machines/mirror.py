"""A copy of what etcd has under a prefix, which follows it within milliseconds.

It may be late, and for as long as etcd can't be reached it is old: nothing that must be right is
decided by it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from dojo.errors import EtcdUnavailable
from dojo.etcd.client import Etcd

_RETRY_SECONDS = 0.2

_log = structlog.get_logger()


class Mirror:
    """Follows the keys of a prefix in a thread of its own. Any thread may ask.

    A lock guards the copy: names (keys without the prefix), with their values and revisions.
    """

    def __init__(
        self, etcd: Etcd, prefix: bytes, title: str, moved: Callable[[str, bytes | None], object]
    ) -> None:
        """Call `moved` with the name and the new value, None if it is gone, after each change."""
        self._etcd = etcd
        self._prefix = prefix
        self._moved = moved
        self._known: dict[str, tuple[bytes, int]] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"mirror of {title}", daemon=True)

    def start(self) -> None:
        """Read everything once, then follow. Raises EtcdUnavailable."""
        revision = self._read()
        self._revision = revision
        self._thread.start()

    def stop(self) -> None:
        """Follow no longer. The watch ends when the client of etcd is closed."""
        self._stopped.set()

    def get(self, name: str) -> bytes | None:
        """Return the value of a name, None if it has none."""
        with self._lock:
            found = self._known.get(name)
        return None if found is None else found[0]

    def items(self) -> list[tuple[str, bytes]]:
        """Return all names with their values, in no order."""
        with self._lock:
            return [(name, value) for name, (value, _) in self._known.items()]

    def note(self, name: str, value: bytes | None, revision: int) -> None:
        """Take over what this process has changed itself, without a wait for the news of it."""
        self._set(name, value, revision)

    def _run(self) -> None:
        while not self._stopped.is_set():
            for events in self._etcd.watch(self._prefix, self._revision):
                for event in events:
                    self._revision = max(self._revision, event.revision)
                    self._set(self._name(event.key), event.value, event.revision)
                if self._stopped.is_set():
                    return
            if self._stopped.wait(_RETRY_SECONDS):
                return
            try:
                self._revision = self._read()
            except EtcdUnavailable as error:
                _log.warning("not followed", prefix=self._prefix.decode(), reason=str(error))

    def _read(self) -> int:
        """Read everything; return the revision at which it was so."""
        found, revision = self._etcd.entries(self._prefix)
        now = {self._name(each.key): each for each in found}
        with self._lock:
            gone = [
                name
                for name, (_, known) in self._known.items()
                if name not in now and known <= revision
            ]
        for name in gone:
            self._set(name, None, revision)
        for name, each in now.items():
            self._set(name, each.value, each.revision)
        return revision

    def _set(self, name: str, value: bytes | None, revision: int) -> None:
        with self._lock:
            before = self._known.get(name)
            if before is not None and before[1] >= revision:
                return
            if value is None:
                self._known.pop(name, None)
            else:
                self._known[name] = value, revision
            is_news = value != (None if before is None else before[0])
        if is_news:
            self._moved(name, value)

    def _name(self, key: bytes) -> str:
        return key.removeprefix(self._prefix).decode()
