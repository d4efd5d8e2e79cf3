"""Katas: what can be done with them, all in one place.

A kata is found, in this order, in a data-container; then in the archive, from which it is
brought back; then in the katas directory, from which it is imported (`storer.katas.fetch`); else
not at all. `storer.katas.create` makes and replaces katas, `storer.katas.delete` deletes them.

Locks: every call that uses a kata holds its folder's lock, shared, for the time of the call.
Deleting, archiving and replacing hold it exclusively, and so find no call in the middle. Making
holds it exclusively from the moment the folder is there until the kata can be seen.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import structlog

from dojo import locks
from dojo.errors import (
    AlreadyExists,
    ArchiveUnavailable,
    EngineUnavailable,
    KataDamaged,
    KataNotFound,
)
from storer.archive import store_kata
from storer.fs.checkpointer import Checkpointer
from storer.kata import manifest
from storer.kata.kata import Kata
from storer.kata.light import Light, Submission
from storer.kata.lights import LightsCache
from storer.kata.manifest import Manifest
from storer.katas import create, delete, fetch, listing
from storer.katas.activity import ActiveCalls
from storer.katas.changes import Changes
from storer.katas.details import Details
from storer.katas.listing import ListedKata, Places

# A kata that is archived just as it is fetched is fetched again, so often.
_ATTEMPTS = 10

# Avatars whose lights are kept for who reads all katas: those of one kata.
_SCANNED_AVATARS = 64

_log = structlog.get_logger()


class Katas:
    """All katas of one namespace. Any thread may use it."""

    def __init__(
        self,
        places: Places,
        active_calls: ActiveCalls,
        changes: Changes,
        checkpointer: Checkpointer,
    ) -> None:
        """Serve the katas of these places; `changes` is told of each that changes."""
        self.archive = places.archive
        self._places = places
        self._containers = places.data_containers
        self._active_calls = active_calls
        self._changes = changes
        self._checkpointer = checkpointer
        self._cache = LightsCache()
        # Of those who read one kata after another, and come back to none.
        self._scan_cache = LightsCache(_SCANNED_AVATARS)

    @contextmanager
    def using(
        self, kata_id: str, *, importing: bool = True, touching: bool = True
    ) -> Iterator[Kata]:
        """Give the kata for the time of a call, importing it if need be and `importing` is set.

        Without `touching` it counts as if nobody had used it. Raises KataNotFound or KataDamaged;
        EngineUnavailable and ArchiveUnavailable only where it is to be imported.
        """
        folder = self._containers.folder(kata_id)
        with contextlib.ExitStack() as stack:
            if touching:
                stack.enter_context(self._active_calls.counted())
            for _ in range(_ATTEMPTS):
                fetch.fetch(self._places, kata_id, importing=importing)
                with contextlib.ExitStack() as lock, contextlib.suppress(FileNotFoundError):
                    lock.enter_context(locks.locked(folder, shared=True))
                    if self._containers.exists(kata_id):
                        stack.push(lock.pop_all())
                        break
                # It was archived, or deleted, since it was fetched.
            else:
                raise KataNotFound(kata_id, "it comes and goes")
            # With the lock: nobody is deleting what the handle would hold. The volume is all
            # that is needed here, and can be used while there is no engine: then the next call
            # makes the handle.
            with contextlib.suppress(EngineUnavailable):
                self._containers.ensure_handle(kata_id)
            if touching:
                self._containers.touch(kata_id)
            yield Kata(folder, kata_id, self._cache, self._checkpointer)

    @contextmanager
    def reading(self, kata_id: str) -> Iterator[Kata]:
        """Give a kata that is in a data-container, to somebody who reads it and goes on.

        Nothing is imported, and no handle is made. Raises KataNotFound.
        """
        folder = self._containers.folder(kata_id)
        with contextlib.ExitStack() as lock:
            try:
                lock.enter_context(locks.locked(folder, shared=True))
            except FileNotFoundError:
                raise KataNotFound(kata_id) from None
            if not self._containers.exists(kata_id):
                raise KataNotFound(kata_id)
            yield Kata(folder, kata_id, self._scan_cache, self._checkpointer)

    def stored_ids(self, prefix: str, after: str) -> Iterator[str]:
        """Yield the ids of those katas in order that are in data-containers or the archive."""
        return listing.stored_ids(self._places, prefix, after)

    def is_stored(self, kata_id: str) -> bool:
        """Say whether a kata is in a data-container or in the archive."""
        return self._containers.exists(kata_id) or self.archive.find(kata_id) is not None

    def complete(self, partial_id: str) -> tuple[list[str], bool]:
        """Return the ids that a partial id can stand for, and whether there are more of them."""
        return listing.complete(self._places, partial_id)

    def page(self, prefix: str, after: str, count: int) -> list[ListedKata]:
        """Return the first `count` katas whose ids begin with `prefix` and come after `after`."""
        return listing.page(self._places, prefix, after, count)

    def details(self, listed: Iterable[ListedKata]) -> dict[str, Details]:
        """Return what is in each of these katas, but for those of the archive; bring in none."""
        return listing.details(self._places, listed)

    def create(self, created_from: Manifest, created: datetime) -> str:
        """Make a kata from a manifest; return its id. Raises InvalidArgument."""
        manifest.check(created_from)
        return self._create(created_from, created)

    def fork(self, kata_id: str, avatar: str, number: int, created: datetime) -> str:
        """Make a kata whose files are those of a light (-1: the newest); return its id."""
        with self.using(kata_id) as kata:
            light, submission = kata.avatar(avatar).submission(number)
            parent = kata.read_manifest()
        forked_from = {"id": kata_id, "avatar": avatar, "number": light.number}
        other = {**parent.other, "forked_from": forked_from}
        return self._create(replace(parent, visible_files=submission.files, other=other), created)

    def start_avatar(
        self, kata_id: str, order: Sequence[str], time: datetime
    ) -> tuple[str, dict[str, bytes]]:
        """Start the first avatar of `order` that is free; return its name and files."""
        with self.using(kata_id) as kata:
            started = kata.start_avatar(order, time)
        self._changes.publish(kata_id)
        return started

    def record(
        self, kata_id: str, avatar: str, light: Light, submission: Submission, expected: int | None
    ) -> Light:
        """Record a test, as `Avatar.record` does."""
        with self.using(kata_id) as kata:
            recorded = kata.avatar(avatar).record(light, submission, expected)
        self._changes.publish(kata_id)
        return recorded

    def lights(self, kata_id: str, *, importing: bool = True) -> dict[str, tuple[Light, ...]]:
        """Return each avatar's lights."""
        with self.using(kata_id, importing=importing) as kata:
            return {avatar.name: avatar.lights() for avatar in kata.avatars()}

    def import_(self, kata_id: str) -> tuple[list[str], bool]:
        """Import a kata; return its avatars, and whether it was imported before."""
        before = self._containers.exists(kata_id)
        with self.using(kata_id) as kata:
            return kata.avatar_names(), before

    def restore(self, kata_id: str, fill: Callable[[Path], None], *, overwrite: bool) -> list[str]:
        """Make a kata from what `fill` puts into the folder it is given; return its avatars.

        `fill` has to raise if what it puts there is not whole. Raises AlreadyExists if there
        is such a kata, here, in the archive or in the katas directory, and `overwrite` is not set.
        """

        def refuse_existing(*_: Path) -> bool:
            if not overwrite and listing.is_somewhere(self._places, kata_id):
                raise AlreadyExists(kata_id)
            return True

        refuse_existing()
        names = create.stage_and_publish(self._containers, kata_id, fill, refuse_existing) or []
        if overwrite:
            self._supersede(kata_id)
        _log.info("kata restored", kata=kata_id, avatars=len(names))
        self._changes.publish(kata_id)
        return names

    def restore_if_wanted(
        self,
        kata_id: str,
        fill: Callable[[Path], None],
        is_wanted: Callable[[Kata, Kata | None], bool],
        *,
        overwrite: bool,
    ) -> None:
        """Make a kata from what `fill` puts into a folder, as `restore` does, if it is wanted.

        `is_wanted` is asked with what came and with the kata that is here already, if there is
        one, which nobody else is using then. With `overwrite` the archive will have it too,
        whatever another machine put there.
        """

        def is_wanted_here(incoming: Path) -> bool:
            existing = self._unchecked_kata(kata_id) if self._containers.exists(kata_id) else None
            return is_wanted(Kata.detached(incoming, kata_id), existing)

        # What is here and can't be fetched is no reason to do without what came.
        with contextlib.suppress(KataNotFound, KataDamaged):
            fetch.fetch(self._places, kata_id, importing=True)
        names = create.stage_and_publish(self._containers, kata_id, fill, is_wanted_here)
        if names is not None:
            _log.info("kata restored", kata=kata_id)
            if overwrite:
                self._supersede(kata_id)
            self._changes.publish(kata_id)

    def delete(self, kata_id: str) -> None:
        """Delete a kata's container and volume, and its copy in the archive.

        Raises KataNotFound; or ArchiveUnavailable or EngineUnavailable when nothing was deleted.
        """
        delete.delete(self._places, kata_id)
        self._changes.publish(kata_id)

    def archive_kata(
        self, kata_id: str, is_watched: Callable[[str], bool], *, with_products: bool
    ) -> None:
        """Archive a kata: the archive gets it, and its container and volume go.

        With what runs left in its sandboxes if `with_products`. Raises KataInUse if somebody uses
        it, or `is_watched` says that somebody watches it; KataNotFound, KataDamaged,
        ArchiveUnavailable, ArchiveConflict, DiskFull or ArchiveMissing; then it is where it was.
        """
        kata = self._unchecked_kata(kata_id)
        delete.archive(self._places, kata, is_watched, with_products=with_products)
        self._changes.publish(kata_id)

    def recover(self, kata_id: str, name: str) -> None:
        """Replay what a machine that went down took of an avatar's lights, as any use does.

        For the holder of the kata's lock, shared. Raises KataDamaged.
        """
        avatar = self._unchecked_kata(kata_id).avatar(name)
        if self._checkpointer.is_foreign(avatar.folder):
            avatar.lights()

    def sweep(self) -> None:
        """Remove what was never completed, its maker having died. For the start of a storer."""
        create.sweep(self._places)

    def _unchecked_kata(self, kata_id: str) -> Kata:
        """Return a kata without looking whether it is there, for the holder of its lock."""
        folder = self._containers.folder(kata_id)
        return Kata(folder, kata_id, self._cache, self._checkpointer)

    def _supersede(self, kata_id: str) -> None:
        """Have the archive take this kata in place of what it has now."""
        with contextlib.suppress(ArchiveUnavailable):  # then they are compared
            if (archived := self.archive.find(kata_id)) is not None:
                store_kata.supersede(archived, self._containers.folder(kata_id))

    def _create(self, described: Manifest, created: datetime) -> str:
        kata_id = create.create(
            self._places, lambda kata_id: manifest.to_json(described, kata_id, created)
        )
        _log.info("kata created", kata=kata_id)
        self._changes.publish(kata_id)
        return kata_id
