"""Katas: finding, making, importing, forking and deleting them.

A kata is found, in this order, in a data-container; then in the archive, from which it is
brought back; then in the katas directory, from which it is imported; else not at all.

Locks: every call that uses a kata holds its folder's lock, shared, for the time of the call.
Deleting, archiving and replacing hold it exclusively, and so find no call in the middle. Making
holds it exclusively from the moment the folder is there until the kata can be seen.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog

from dojo import avatars, kata_ids, locks
from dojo.data_containers import MANIFEST, DataContainers, NameTaken
from dojo.errors import (
    AlreadyExists,
    ArchiveMissing,
    ArchiveUnavailable,
    DojoError,
    EngineUnavailable,
    KataDamaged,
    KataInUse,
    KataNotFound,
)
from storer import (
    copying,
    durable,
    json_files,
    listing,
    manifest,
    publishing,
    putting_away,
    settling,
)
from storer.archive import Archive, NoArchive
from storer.avatar import PASSAGE
from storer.details import Details
from storer.in_progress import InProgress
from storer.kata import Kata
from storer.katas_directory import KatasDirectory
from storer.lights import LightsCache
from storer.listing import ListedKata, Places
from storer.manifest import Manifest

# Between the making of a volume and its locking is a moment; what is older is nobody's.
UNFINISHED_SECONDS = 60

# A kata that is archived just as it is brought back is brought back again, so often.
_ATTEMPTS = 10

# Avatars whose lights are kept for who reads all katas: those of one kata.
_PASSING = 64

# How long the engine may take to make or to remove a container whose name is wanted.
_TAKEN_SECONDS = 10.0
_AGAIN_SECONDS = 0.01

_log = structlog.get_logger()


class Katas:
    """All katas of one namespace. Any thread may use it."""

    def __init__(
        self,
        data_containers: DataContainers,
        katas_directory: KatasDirectory,
        on_change: Callable[[str], None],
        archive: Archive | None = None,
        is_watched: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """Serve these katas; `on_change` is called with the id of a kata made, deleted or replaced.

        One that `is_watched` says somebody watches is not archived.
        """
        self.archive = archive or NoArchive()
        self.in_progress = InProgress()
        self._is_watched = is_watched
        self._containers = data_containers
        self._directory = katas_directory
        self._on_change = on_change
        self._places = Places(data_containers, self.archive, katas_directory)
        self._cache = LightsCache()
        # Of those who read one kata after another, and come back to none.
        self._passing_cache = LightsCache(_PASSING, self._cache.journals)

    @contextmanager
    def using(
        self, kata_id: str, *, importing: bool = True, touching: bool = True
    ) -> Iterator[Kata]:
        """Give the kata for the time of a call, importing it if need be and `importing` is set.

        Without `touching` it counts as if nobody had used it. Raises KataNotFound or KataDamaged;
        EngineUnavailable and ArchiveUnavailable only where it is to be imported.
        """
        folder = self._containers.folder(kata_id)
        with contextlib.ExitStack() as held:
            if touching:
                held.enter_context(self.in_progress.one())
            for _ in range(_ATTEMPTS):
                self._bring(kata_id, importing=importing)
                with contextlib.ExitStack() as stack, contextlib.suppress(FileNotFoundError):
                    stack.enter_context(locks.locked(folder, shared=True))
                    if self._containers.exists(kata_id):
                        held.push(stack.pop_all())
                        break
                # It was archived, or deleted, since it was brought.
            else:
                raise KataNotFound(kata_id, "it comes and goes")
            # With the lock: nobody is deleting what the handle would hold. The volume is all
            # that is needed here, and can be used while there is no engine: then the next call
            # makes the handle.
            with contextlib.suppress(EngineUnavailable):
                self._containers.ensure_handle(kata_id)
            if touching:
                self._containers.touch(kata_id)
            yield Kata(folder, kata_id, self._cache)

    @contextmanager
    def reading(self, kata_id: str) -> Iterator[Kata]:
        """Give a kata that is in a data-container, to somebody who reads it and goes on.

        Nothing is imported, and no handle is made. Raises KataNotFound.
        """
        folder = self._containers.folder(kata_id)
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locks.locked(folder, shared=True))
            except FileNotFoundError:
                raise KataNotFound(kata_id) from None
            if not self._containers.exists(kata_id):
                raise KataNotFound(kata_id)
            yield Kata(folder, kata_id, self._passing_cache)

    def kept_ids(self, prefix: str, after: str) -> Iterator[str]:
        """Yield the ids of those katas in order that are in data-containers or the archive."""
        return listing.kept_ids(self._places, prefix, after)

    def is_kept(self, kata_id: str) -> bool:
        """Say whether a kata is in a data-container or in the archive."""
        return self._containers.exists(kata_id) or self.archive.find(kata_id) is not None

    def create(self, created_from: Manifest, created: datetime) -> str:
        """Make a kata from a manifest; return its id. Raises InvalidArgument."""
        manifest.check(created_from)
        return self._create(lambda kata_id: manifest.to_json(created_from, kata_id, created))

    def fork(self, kata_id: str, avatar: str, number: int, created: datetime) -> str:
        """Make a kata whose files are those of a light (-1: the newest); return its id."""
        with self.using(kata_id) as kata:
            light, submission = kata.avatar(avatar).submission(number)
            parent = kata.manifest
        forked_from = {"id": kata_id, "avatar": avatar, "number": light.number}
        other = {**parent.other, "forked_from": forked_from}
        forked = replace(parent, visible_files=submission.files, other=other)
        return self._create(lambda new_id: manifest.to_json(forked, new_id, created))

    def import_(self, kata_id: str) -> tuple[list[str], bool]:
        """Import a kata; return its avatars, and whether it was imported before."""
        before = self._containers.exists(kata_id)
        with self.using(kata_id) as kata:
            return kata.avatar_names(), before

    def delete(self, kata_id: str) -> None:
        """Delete a kata's container and volume, and its copy in the archive.

        Raises KataNotFound; or ArchiveUnavailable or EngineUnavailable when nothing was deleted.
        """
        if not self._containers.exists(kata_id) and self.archive.find(kata_id) is None:
            raise KataNotFound(kata_id, "neither a data-container nor the archive has this kata")
        folder = self._containers.folder(kata_id)
        while True:
            try:
                with locks.locked(folder):
                    self._containers.engine.ping()  # without it nothing is begun
                    # First in the archive: killed in between, the kata is whole where it is seen.
                    self.archive.delete(kata_id)
                    if self._containers.exists(kata_id):
                        publishing.hide(folder)
                        self._containers.delete(kata_id)
                    break
            except FileNotFoundError:
                self.archive.delete(kata_id)
                if not folder.exists():  # else somebody brings it back
                    break
        _log.info("kata deleted")
        self._on_change(kata_id)

    def put_away(self, kata_id: str, *, with_products: bool = True) -> None:
        """Archive a kata: the archive gets it, and its container and volume go.

        With what runs left in its sandboxes if `with_products`. Raises KataInUse if somebody uses
        it, KataNotFound, KataDamaged, ArchiveUnavailable, DiskFull or ArchiveMissing; then it is
        where it was.
        """
        if not self._containers.exists(kata_id):
            raise KataNotFound(kata_id, "no data-container has this kata")
        if not self.archive.is_there:
            raise ArchiveMissing
        folder = self._containers.folder(kata_id)
        with locks.locked_at_once(folder) as is_held:
            if not self._containers.exists(kata_id):
                raise KataNotFound(kata_id, "no data-container has this kata")
            if not is_held or publishing.is_staged(folder):
                raise KataInUse(kata_id, "a call is in progress")
            if self._is_watched(kata_id):
                raise KataInUse(kata_id, "it is watched")
            if holders := self._containers.holders(kata_id):
                raise KataInUse(kata_id, f"the container {holders[0]} holds its volume")
            self._containers.engine.ping()
            kata = Kata(folder, kata_id, self._cache)
            putting_away.put(self.archive, kata, with_products=with_products)
            publishing.hide(folder)
            self._containers.delete(kata_id)
        _log.info("kata archived", kata=kata_id)
        self._on_change(kata_id)

    def restore(self, kata_id: str, fill: Callable[[Path], None], *, overwrite: bool) -> list[str]:
        """Make a kata from what `fill` puts into the folder it is given; return its avatars.

        `fill` has to raise if what it puts there is not whole. Raises AlreadyExists if there
        is such a kata, here, in the archive or in the katas directory, and `overwrite` is not set.
        """
        self._refuse_existing(kata_id, overwrite=overwrite)
        with self._staged(kata_id) as (folder, incoming):
            # Slow, as whoever sends the tar may be: the kata can be used meanwhile.
            fill(incoming)
            names = settling.settle(incoming, kata_id)
            with locks.locked(folder):
                publishing.recover(folder)
                self._refuse_existing(kata_id, overwrite=overwrite)
                folder.chmod(PASSAGE)
                publishing.publish(incoming, folder)
        _log.info("kata restored", kata=kata_id, avatars=len(names))
        self._on_change(kata_id)
        return names

    def take(
        self,
        kata_id: str,
        fill: Callable[[Path], None],
        is_wanted: Callable[[Kata, Kata | None], bool],
    ) -> None:
        """Make a kata from what `fill` puts into a folder, as `restore` does, if it is wanted.

        `is_wanted` is asked with what came and with the kata that is here already, if there is
        one, which nobody else is using then.
        """
        # What is here and can't be brought is no reason to do without what came.
        with contextlib.suppress(KataNotFound, KataDamaged):
            self._bring(kata_id, importing=True)
        with self._staged(kata_id) as (folder, incoming):
            fill(incoming)
            settling.settle(incoming, kata_id)
            with locks.locked(folder):
                publishing.recover(folder)
                is_here = self._containers.exists(kata_id)
                here = Kata(folder, kata_id, self._cache) if is_here else None
                if not is_wanted(Kata(incoming, kata_id, LightsCache()), here):
                    return
                folder.chmod(PASSAGE)
                publishing.publish(incoming, folder)
        _log.info("kata restored", kata=kata_id)
        self._on_change(kata_id)

    def complete(self, partial_id: str) -> tuple[list[str], bool]:
        """Return the ids that a partial id can stand for, and whether there are more of them."""
        return listing.complete(self._places, partial_id)

    def page(self, prefix: str, after: str, count: int) -> list[ListedKata]:
        """Return the first `count` katas whose ids begin with `prefix` and come after `after`."""
        return listing.page(self._places, prefix, after, count)

    def close(self) -> None:
        """Put all on disk that was recorded, and leave no journal. For the end of a storer."""
        self._cache.journals.empty()

    def recover(self, kata_id: str, name: str) -> None:
        """Write again what a machine that went down took of an avatar's lights, as any use does.

        For the holder of the kata's lock, shared. Raises KataDamaged.
        """
        avatar = Kata(self._containers.folder(kata_id), kata_id, self._cache).avatar(name)
        if not self._cache.journals.is_known(avatar.folder):
            avatar.lights()

    def details(self, listed: Iterable[ListedKata]) -> dict[str, Details]:
        """Return what is in each of these katas, but for those of the archive; bring in none."""
        return listing.details(self._places, listed)

    def sweep(self) -> None:
        """Remove what was never completed, its maker having died. For the start of a storer.

        What is being made at this moment is staged, or was begun a moment ago, and stays.
        """
        with contextlib.suppress(ArchiveUnavailable):
            self.archive.sweep()
        for kata_id in list(self._containers.kata_ids()):
            folder = self._containers.folder(kata_id)
            with contextlib.suppress(FileNotFoundError):
                is_new = time.time() - folder.stat().st_mtime < UNFINISHED_SECONDS
                if publishing.is_interrupted(folder) or not (
                    is_new or self._containers.exists(kata_id)
                ):
                    with locks.locked(folder):
                        publishing.recover(folder)
                        publishing.is_staged(folder)
                        self._undo(kata_id)

    def _bring(self, kata_id: str, *, importing: bool) -> None:
        """Make sure that the kata is in a data-container; raise KataNotFound if it can't be."""
        if not self._containers.exists(kata_id):
            folder = self._containers.folder(kata_id)
            if folder.exists():  # it is being made, or replaced, or a crash interrupted that
                with contextlib.suppress(FileNotFoundError), locks.locked(folder):
                    publishing.recover(folder)
            if not self._containers.exists(kata_id):
                if not importing:
                    raise KataNotFound(kata_id)
                self._import(kata_id)

    def _import(self, kata_id: str) -> None:
        archived = self.archive.find(kata_id)
        source = self._directory.folder(kata_id)
        if archived is None and source is None:
            raise KataNotFound(kata_id)
        folder = self._containers.folder(kata_id)
        with contextlib.ExitStack() as stack:
            self._create_locked(kata_id, stack)
            if self._containers.exists(kata_id):
                return  # another call was faster
            # It may even have gone to the archive meanwhile.
            archived = archived or self.archive.find(kata_id)
            with self._undone_on_error(kata_id), publishing.staging(folder) as incoming:
                if archived is not None:
                    putting_away.get(self.archive, kata_id, incoming)
                elif source is not None:
                    copying.copy(source, incoming)
                    settling.settle(incoming, kata_id)
                folder.chmod(PASSAGE)
                publishing.publish(incoming, folder)
                if archived is not None:
                    putting_away.note(archived, folder)
        _log.info("kata imported", kata=kata_id, archived=archived is not None)

    def _create_locked(self, kata_id: str, stack: contextlib.ExitStack) -> None:
        """Make the data-container, if there is none, and take its folder's lock."""
        deadline = time.monotonic() + _TAKEN_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(NameTaken):
                self._containers.create(kata_id)
            # Whoever had it before may have deleted it: a kata that can't be imported.
            with contextlib.suppress(FileNotFoundError):
                stack.enter_context(locks.locked(self._containers.folder(kata_id)))
                return
            time.sleep(_AGAIN_SECONDS)  # the engine is at it, for another call
        raise KataNotFound(kata_id, "its container is there and its volume is not")

    def _refuse_existing(self, kata_id: str, *, overwrite: bool) -> None:
        if not overwrite and listing.is_somewhere(self._places, kata_id):
            raise AlreadyExists(kata_id)

    def _create(self, describe: Callable[[str], dict[str, Any]]) -> str:
        """Make a kata of a new id, with the manifest.json that `describe` gives for that id."""
        while True:
            kata_id = kata_ids.new()
            if listing.is_somewhere(self._places, kata_id):
                continue
            try:
                folder = self._containers.create(kata_id)
            except NameTaken:
                continue
            with self._undone_on_error(kata_id):
                folder.chmod(PASSAGE)
                durable.write(folder / MANIFEST, json_files.dumps(describe(kata_id)))
            _log.info("kata created", kata=kata_id)
            self._on_change(kata_id)
            return kata_id

    @contextmanager
    def _staged(self, kata_id: str) -> Iterator[tuple[Path, Path]]:
        """Give a kata's folder, and one in it to put the kata together in.

        Makes the data-container if there is none, and deletes it if it won't get a kata.
        """
        folder = self._containers.folder(kata_id)
        try:
            with contextlib.ExitStack() as staged:
                with contextlib.ExitStack() as held:
                    # Staged before another, who fails, can find that nobody needs the container.
                    self._create_locked(kata_id, held)
                    incoming = staged.enter_context(publishing.staging(folder))
                yield folder, incoming
        except BaseException:
            with contextlib.suppress(FileNotFoundError), locks.locked(folder):
                self._undo(kata_id)
            raise

    @contextmanager
    def _undone_on_error(self, kata_id: str) -> Iterator[None]:
        """Delete a data-container if it won't get a kata. For the lock's holder."""
        try:
            yield
        except BaseException:
            self._undo(kata_id)
            raise

    def _undo(self, kata_id: str) -> None:
        """Delete a data-container that has no kata, and won't get one. For the lock's holder."""
        folder = self._containers.folder(kata_id)
        wanted = publishing.is_begun(folder) or publishing.is_staged(folder)
        is_deleted = (folder / publishing.GONE).exists()
        if not is_deleted and any(avatars.is_name(path.name) for path in folder.iterdir()):
            # Somebody's work, for all that it can't be seen without a manifest.
            wanted = True
        if not self._containers.exists(kata_id) and not wanted:
            with contextlib.suppress(DojoError):  # then the next sweep does it
                self._containers.delete(kata_id)
                _log.info("unfinished kata deleted", kata=kata_id)
