"""What is known of damaged katas: which are broken, and which have an avatar that was set aside.

A kata is broken if it takes a backup to mend it. Who meets damage names the kata here; whether it
is broken, `storer.workers.damage_checker` finds out. Those that are stay noted in a volume, so that
a storer that starts again does not take them for sound. Avatars that were set aside are said on the
disk, by their damaged.json; `storer.workers.survey` looks for all of them.
"""

import contextlib
import math
import os
import threading
from pathlib import PurePath

import structlog

from dojo import avatars
from dojo.engine.data_containers import DataContainers
from dojo.naming import DAMAGED_JSON
from storer.katas.noted_katas import NotedKatas

_log = structlog.get_logger()

# Whoever is turned away now meets the damage again.
MAX_SUSPECTS = 10_000


class DamagedKatas:
    """The damaged katas of a namespace. Any thread may use it; a lock guards the sets."""

    def __init__(self, containers: DataContainers) -> None:
        self._containers = containers
        self._notes = NotedKatas(containers, containers.namespace.damaged, "damaged")
        self._changed = threading.Condition()
        self._broken = self._notes.ids()
        self._set_aside: set[str] = set()
        self._all_were_looked_at = False
        self._suspects: dict[str, None] = {}  # in the order in which they are to be checked
        self._checked = ""  # the last that was taken to be checked

    def met(self, kata_id: str, path: PurePath | str) -> None:
        """Hear that a file of the kata is damaged.

        `path` is the file's, from the kata's folder or from any other above the avatar's.
        """
        with self._changed:
            if kata_id in self._broken:
                return
        name = next(filter(avatars.is_name, PurePath(path).parts), None)
        if name is not None and self._is_set_aside(kata_id, name):
            with self._changed:
                self._set_aside.add(kata_id)
        else:
            self.suspect(kata_id)

    def suspect(self, kata_id: str) -> None:
        """Have a kata checked that may be broken, or may be so no longer."""
        with self._changed:
            if len(self._suspects) < MAX_SUSPECTS:
                self._suspects[kata_id] = None
                self._changed.notify_all()

    def suspect_all_broken(self) -> None:
        """Have all broken katas checked again."""
        with self._changed:
            self._suspects.update(dict.fromkeys(sorted(self._broken)))
            self._changed.notify_all()

    def changed(self, kata_id: str) -> None:
        """Hear that a kata changed: one that is known as damaged may be so no longer."""
        with self._changed:
            # The check that is going on may have read what was there before.
            is_broken = kata_id in self._broken or kata_id == self._checked
            is_set_aside = kata_id in self._set_aside
        if is_broken:
            self.suspect(kata_id)
        if is_set_aside:
            self.look(kata_id)

    def look(self, kata_id: str) -> None:
        """Look whether a data-container has the kata, with an avatar that was set aside."""
        found = False
        with contextlib.suppress(OSError):  # it was archived or deleted, or its disk fails
            if self._containers.exists(kata_id):
                names = os.listdir(self._containers.folder(kata_id))
                wanted = filter(avatars.is_name, names)
                found = any(self._is_set_aside(kata_id, name) for name in wanted)
        with self._changed:
            (self._set_aside.add if found else self._set_aside.discard)(kata_id)

    def looked_at_all(self) -> None:
        """Hear that `look` was called for every kata that a data-container has.

        Looks again at the katas that have an avatar set aside: those that are gone were not among
        them.
        """
        with self._changed:
            before = list(self._set_aside)
        for kata_id in before:
            self.look(kata_id)
        with self._changed:
            self._all_were_looked_at = True

    def next_suspect(self, seconds: float) -> str | None:
        """Take the next kata that is to be checked; None if there is none within `seconds`."""
        with self._changed:
            if not self._suspects:
                self._changed.wait(seconds)
            if not self._suspects:
                return None
            kata_id = next(iter(self._suspects))
            del self._suspects[kata_id]
            self._checked = kata_id
            return kata_id

    def wake(self) -> None:
        """Have `next_suspect` return."""
        with self._changed:
            self._changed.notify_all()

    def conclude(self, kata_id: str, damage: str) -> None:
        """Note what a check found: what is broken of a kata, "" if nothing is or it is gone.

        Raises DiskFull, EngineUnavailable or OSError if it is known, and can't be noted.
        """
        with self._changed:
            was_broken = kata_id in self._broken
            (self._broken.add if damage else self._broken.discard)(kata_id)
            self._checked = ""
        if damage and not was_broken:
            _log.warning("kata damaged", kata=kata_id, reason=damage)
        if was_broken and not damage:
            _log.info("kata no longer damaged", kata=kata_id)
        if not damage:
            self._notes.remove(kata_id)
        elif not self._notes.has(kata_id):
            self._notes.add(kata_id)

    def broken_count(self) -> int:
        """Return how many katas are known to be broken."""
        with self._changed:
            return len(self._broken)

    def set_aside_count(self) -> float:
        """Return how many katas have an avatar set aside; NaN until all were looked at."""
        with self._changed:
            return len(self._set_aside) if self._all_were_looked_at else math.nan

    def _is_set_aside(self, kata_id: str, name: str) -> bool:
        return os.path.lexists(f"{self._containers.folder(kata_id)}/{name}/{DAMAGED_JSON}")
