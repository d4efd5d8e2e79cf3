"""Making a kata where there is none, or instead of the one that is there; and undoing that.

A kata that takes a while to put together is put together in a folder of its own inside its
volume (`storer.katas.publish`), so there has to be a data-container before there is a kata. One
that won't get a kata is removed again: at once, or by the sweep of the next storer.

Locks: the folder's is held exclusively from the moment that the folder is there until the kata
can be seen, but for the time in which a kata is put together that somebody sends.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog

from dojo import avatars, kata_ids, locks
from dojo.engine.data_containers import MANIFEST, DataContainers, NameTaken
from dojo.errors import ArchiveUnavailable, DojoError, KataNotFound
from storer.fs import durable, json_files
from storer.kata.avatar import PASSAGE
from storer.katas import listing, normalize, publish
from storer.katas.listing import Places

# Between the making of a volume and its locking is a moment; what is older is nobody's.
UNFINISHED_SECONDS = 60

# How long the engine may take to make or to remove a volume whose name is wanted.
_NAME_TAKEN_SECONDS = 10.0
_RETRY_SECONDS = 0.01

_log = structlog.get_logger()


def create(places: Places, make_manifest: Callable[[str], dict[str, Any]]) -> str:
    """Make a kata of a new id, with the manifest.json that `describe` gives for it; return the id.

    The container is made first, and the volume with it: who has the name has the id.
    """
    while True:
        kata_id = kata_ids.new()
        if listing.is_somewhere(places, kata_id):
            continue
        try:
            folder = places.data_containers.create(kata_id)
        except NameTaken:
            continue
        with undo_on_error(places.data_containers, kata_id):
            folder.chmod(PASSAGE)
            durable.write(folder / MANIFEST, json_files.dumps(make_manifest(kata_id)))
        return kata_id


def stage_and_publish(
    containers: DataContainers,
    kata_id: str,
    fill: Callable[[Path], None],
    is_wanted: Callable[[Path], bool],
) -> list[str] | None:
    """Make a kata from what `fill` puts into the folder it is given, instead of any that is there.

    `fill` has to raise if what it puts there is not whole. `is_wanted` is asked with that folder
    then, when nobody uses the kata that is there. Returns the new kata's avatars; None if it is
    not wanted.
    """
    with _staged(containers, kata_id) as (folder, staged):
        # Slow, as whoever sends the tar may be: the kata can be used meanwhile.
        fill(staged.folder)
        names = normalize.normalize(staged.folder, kata_id)
        with locks.locked(folder):
            publish.recover(folder)
            if not is_wanted(staged.folder):
                return None
            folder.chmod(PASSAGE)
            publish.publish(staged, folder)
    return names


@contextmanager
def locked_volume(containers: DataContainers, kata_id: str) -> Iterator[Path]:
    """Make a kata's volume, if there is none, and hold its folder's lock; give the folder.

    Its container is not made here.
    """
    folder = containers.folder(kata_id)
    with contextlib.ExitStack() as stack:
        deadline = time.monotonic() + _NAME_TAKEN_SECONDS
        while True:
            try:
                containers.ensure_volume(kata_id)
            except DojoError:
                _lock_and_undo(containers, kata_id)  # an engine that has no room can leave it
                raise
            waiting_since = time.monotonic()
            # Whoever had it before may have deleted it: a kata that can't be imported.
            with contextlib.suppress(FileNotFoundError):
                stack.enter_context(locks.locked(folder))
                break
            deadline += time.monotonic() - waiting_since  # others had their turn
            if time.monotonic() > deadline:
                raise KataNotFound(kata_id, "its container is there and its volume is not")
            time.sleep(_RETRY_SECONDS)  # the engine is at it, for another call
        yield folder


@contextmanager
def undo_on_error(containers: DataContainers, kata_id: str) -> Iterator[None]:
    """Delete a data-container if it won't get a kata. For the lock's holder."""
    try:
        yield
    except BaseException:
        _undo(containers, kata_id)
        raise


def sweep(places: Places) -> None:
    """Remove what was never completed, its maker having died. For the start of a storer.

    What is being made at this moment is staged, or was begun a moment ago, and stays.
    """
    containers = places.data_containers
    with contextlib.suppress(ArchiveUnavailable):
        places.archive.sweep()
    for kata_id in list(containers.kata_ids()):
        folder = containers.folder(kata_id)
        with contextlib.suppress(FileNotFoundError):
            is_new = time.time() - folder.stat().st_mtime < UNFINISHED_SECONDS
            if publish.is_interrupted(folder) or not (is_new or containers.exists(kata_id)):
                with locks.locked(folder):
                    publish.recover(folder)
                    publish.is_staged(folder)
                    _undo(containers, kata_id)


@contextmanager
def _staged(containers: DataContainers, kata_id: str) -> Iterator[tuple[Path, publish.Staged]]:
    """Give a kata's folder, and one in it to put the kata together in.

    Makes the data-container if there is none, and deletes it if it won't get a kata.
    """
    folder = containers.folder(kata_id)
    try:
        with contextlib.ExitStack() as stack:
            # Staged before another, who fails, can find that nobody needs the container.
            with locked_volume(containers, kata_id):
                containers.make_handle(kata_id)
                staged = stack.enter_context(publish.staging(folder))
            yield folder, staged
    except BaseException:
        _lock_and_undo(containers, kata_id)
        raise


def _lock_and_undo(containers: DataContainers, kata_id: str) -> None:
    """Delete a data-container that has no kata, and won't get one, if there is one."""
    folder = containers.folder(kata_id)
    with contextlib.suppress(FileNotFoundError), locks.locked(folder):
        _undo(containers, kata_id)


def _undo(containers: DataContainers, kata_id: str) -> None:
    """Delete a data-container that has no kata, and won't get one. For the lock's holder."""
    folder = containers.folder(kata_id)
    is_needed = publish.is_pending(folder) or publish.is_staged(folder)
    is_deleted = (folder / publish.GONE).exists()
    if not is_deleted and any(avatars.is_name(path.name) for path in folder.iterdir()):
        # Somebody's work, for all that it can't be seen without a manifest.
        is_needed = True
    if not containers.exists(kata_id) and not is_needed:
        with contextlib.suppress(DojoError):  # then the next sweep does it
            containers.delete(kata_id)
            _log.info("unfinished kata deleted", kata=kata_id)
