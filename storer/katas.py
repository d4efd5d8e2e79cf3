"""Katas: finding, making, importing, forking and deleting them.

A kata is found, in this order, in a data-container; then in the katas directory, from which
it is imported; else not at all.

Locks: every call that uses a kata holds its folder's lock, shared, for the time of the call.
Deleting and replacing hold it exclusively, and so find no call in the middle. Making holds
it exclusively from the moment the folder is there until the kata can be seen.
"""

from __future__ import annotations

import contextlib
import heapq
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import structlog

from dojo import kata_ids, locks
from dojo.data_containers import MANIFEST, DataContainers, NameTaken
from dojo.errors import AlreadyExists, DojoError, EngineUnavailable, KataNotFound
from storer import copying, durable, json_files, manifest, publishing, settling
from storer.avatar import PASSAGE
from storer.kata import Kata
from storer.katas_directory import KatasDirectory
from storer.lights import LightsCache
from storer.manifest import Manifest

MAX_COMPLETIONS = 100

# Between the making of a volume and its locking is a moment; what is older is nobody's.
UNFINISHED_SECONDS = 60

_log = structlog.get_logger()


@dataclass(frozen=True)
class ListedKata:
    """A kata's id, and whether it is in a data-container (or else in the katas directory)."""

    kata_id: str
    in_data_container: bool


class Katas:
    """All katas of one namespace. Any thread may use it."""

    def __init__(
        self,
        data_containers: DataContainers,
        katas_directory: KatasDirectory,
        on_change: Callable[[str], None],
    ) -> None:
        """Serve these katas; `on_change` is called with the id of a kata deleted or replaced."""
        self._containers = data_containers
        self._directory = katas_directory
        self._on_change = on_change
        self._cache = LightsCache()

    @contextmanager
    def using(self, kata_id: str, *, importing: bool = True) -> Iterator[Kata]:
        """Give the kata for the time of a call, importing it if need be and `importing` is set.

        Raises KataNotFound or KataDamaged; EngineUnavailable only where it is to be imported.
        """
        self._bring(kata_id, importing=importing)
        folder = self._containers.folder(kata_id)
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locks.locked(folder, shared=True))
            except FileNotFoundError:
                raise KataNotFound(kata_id) from None
            if not self._containers.exists(kata_id):  # deleted since it was brought
                raise KataNotFound(kata_id)
            # With the lock: nobody is deleting what the handle would hold. The volume is all
            # that is needed here, and can be used while there is no engine: then the next call
            # makes the handle.
            with contextlib.suppress(EngineUnavailable):
                self._containers.ensure_handle(kata_id)
            yield Kata(folder, kata_id, self._cache)

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
        """Delete a kata's container and volume. Raises KataNotFound."""
        if not self._containers.exists(kata_id):
            raise KataNotFound(kata_id, "no data-container has this kata")
        try:
            with locks.locked(self._containers.folder(kata_id)):
                self._containers.delete(kata_id)
        except FileNotFoundError:
            raise KataNotFound(kata_id) from None
        _log.info("kata deleted")
        self._on_change(kata_id)

    def restore(self, kata_id: str, fill: Callable[[Path], None], *, overwrite: bool) -> list[str]:
        """Make a kata from what `fill` puts into the folder it is given; return its avatars.

        `fill` has to raise if what it puts there is not whole. Raises AlreadyExists if there
        is such a kata, here or in the katas directory, and `overwrite` is not set.
        """
        self._refuse_existing(kata_id, overwrite=overwrite)
        with self._staged(kata_id) as (folder, incoming):
            # Slow, as whoever sends the tar may be: the kata can be used meanwhile.
            fill(incoming)
            names = settling.settle(incoming, kata_id)
            with locks.locked(folder):
                publishing.recover(folder)
                self._refuse_existing(kata_id, overwrite=overwrite)
                publishing.publish(incoming, folder)
                folder.chmod(PASSAGE)
        _log.info("kata restored", kata=kata_id, avatars=len(names))
        self._on_change(kata_id)
        return names

    def complete(self, partial_id: str) -> tuple[list[str], bool]:
        """Return the ids that a partial id can stand for, and whether there are more of them.

        Those that have its case come first.
        """
        wanted = partial_id.lower()
        found = {
            kata_id
            for kata_id in self._containers.kata_ids()
            if kata_id.lower().startswith(wanted) and self._containers.exists(kata_id)
        }
        found.update(self._directory.kata_ids(partial_id, ignore_case=True))
        ordered = sorted(found, key=lambda each: (not each.startswith(partial_id), each))
        return ordered[:MAX_COMPLETIONS], len(ordered) > MAX_COMPLETIONS

    def page(self, prefix: str, after: str, count: int) -> list[ListedKata]:
        """Return the first `count` katas whose ids begin with `prefix` and come after `after`."""
        contained = sorted(
            kata_id
            for kata_id in self._containers.kata_ids()
            if kata_id.startswith(prefix) and kata_id > after
        )
        merged = heapq.merge(
            ((kata_id, True) for kata_id in contained if self._containers.exists(kata_id)),
            ((kata_id, False) for kata_id in self._directory.kata_ids(prefix) if kata_id > after),
        )
        each_once = (
            ListedKata(kata_id, in_data_container=any(where for _, where in found))
            for kata_id, found in groupby(merged, key=lambda pair: pair[0])
        )
        return list(islice(each_once, count))

    def sweep(self) -> None:
        """Remove what was never completed, its maker having died. For the start of a storer.

        What is being made at this moment is staged, or was begun a moment ago, and stays.
        """
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
        source = self._directory.folder(kata_id)
        if source is None:
            raise KataNotFound(kata_id)
        folder = self._containers.folder(kata_id)
        with contextlib.ExitStack() as stack:
            self._create_locked(kata_id, stack)
            if self._containers.exists(kata_id):
                return  # another call was faster
            with self._undone_on_error(kata_id), publishing.staging(folder) as incoming:
                copying.copy(source, incoming)
                names = settling.settle(incoming, kata_id)
                publishing.publish(incoming, folder)
                folder.chmod(PASSAGE)
        _log.info("kata imported", kata=kata_id, avatars=len(names))

    def _create_locked(self, kata_id: str, stack: contextlib.ExitStack) -> None:
        """Make the data-container, if there is none, and take its folder's lock."""
        for _ in range(100):
            with contextlib.suppress(NameTaken):
                self._containers.create(kata_id)
            # Whoever had it before may have deleted it: a kata that can't be imported.
            with contextlib.suppress(FileNotFoundError):
                stack.enter_context(locks.locked(self._containers.folder(kata_id)))
                return
        raise KataNotFound(kata_id, "its container is there and its volume is not")

    def _refuse_existing(self, kata_id: str, *, overwrite: bool) -> None:
        exists = self._containers.exists(kata_id) or self._directory.folder(kata_id) is not None
        if exists and not overwrite:
            raise AlreadyExists(kata_id)

    def _create(self, describe: Callable[[str], dict[str, Any]]) -> str:
        """Make a kata of a new id, with the manifest.json that `describe` gives for that id."""
        while True:
            kata_id = kata_ids.new()
            if self._directory.folder(kata_id) is not None:
                continue
            try:
                folder = self._containers.create(kata_id)
            except NameTaken:
                continue
            with self._undone_on_error(kata_id):
                folder.chmod(PASSAGE)
                durable.write(folder / MANIFEST, json_files.dumps(describe(kata_id)))
            _log.info("kata created", kata=kata_id)
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
        if not self._containers.exists(kata_id) and not wanted:
            with contextlib.suppress(DojoError):  # then the next sweep does it
                self._containers.delete(kata_id)
                _log.info("unfinished kata deleted", kata=kata_id)
