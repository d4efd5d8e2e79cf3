"""Remove a kata's data-container: because the kata is deleted, or because it is archived.

Locks: both hold the lock on the kata's folder exclusively, so no call is using the kata. Deleting
waits for the lock, archiving does not.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog

from dojo import locks, waits
from dojo.errors import ArchiveMissing, KataInUse, KataNotFound
from storer import metrics
from storer.archive import store_kata
from storer.kata.kata import Kata
from storer.katas import publish
from storer.katas.listing import Places

_log = structlog.get_logger()


def delete(places: Places, kata_id: str) -> bool:
    """Delete a kata everywhere: in a data-container, in the archive, in the katas directory.

    Return whether the katas directory, or a saver's, still has it, because it may not be written;
    the kata stays away all the same. Raises KataNotFound; ArchiveUnavailable or EngineUnavailable
    if nothing was deleted.
    """
    containers, directory = places.data_containers, places.katas_directory
    is_stored = containers.exists(kata_id) or places.archive.find(kata_id) is not None
    is_stored = is_stored or places.installation.is_in_use(kata_id)
    if not is_stored and not places.imports(kata_id):
        raise KataNotFound(kata_id, "no data-container, archive or katas directory has this kata")
    held = places.installation.claim(kata_id, lambda: True)
    # First: if this process dies before the end, the next call must not import the kata again.
    is_in_directory = directory.hide(kata_id)
    is_in_saver = places.saver_katas.hide(kata_id)
    was_stored = _delete_stored(places, kata_id)
    was_owned = places.installation.is_shared and not held.was_free
    if not (was_stored or was_owned or is_in_directory or is_in_saver):
        raise KataNotFound(kata_id, "another call has just deleted it")
    is_gone = directory.remove(kata_id) and not is_in_saver
    if is_in_directory and is_gone:
        directory.show(kata_id)  # no tombstone is needed any more
    _log.info("kata deleted", stays_in_katas_directory=not is_gone)
    return not is_gone


def _delete_stored(places: Places, kata_id: str) -> bool:
    """Delete a kata's container and volume, and the kata in the archive; say whether it was there.

    Of two calls that delete a kata, the one that comes first finds it.
    """
    containers, folder = places.data_containers, places.data_containers.folder(kata_id)
    was_there = False
    while True:
        try:
            with locks.locked(folder):
                containers.engine.ping()  # delete nothing if the engine can't remove the volume
                was_there = was_there or _is_there(places, kata_id)
                places.installation.delete(kata_id)
                # The archive first: if this process dies in between, the visible kata is whole.
                places.archive.delete(kata_id)
                if containers.exists(kata_id):
                    publish.hide(folder)
                    containers.delete(kata_id)
                places.installation.deleted(kata_id)
                return was_there
        except FileNotFoundError:
            was_there = was_there or _is_there(places, kata_id)
            places.installation.delete(kata_id)
            places.archive.delete(kata_id)
            places.installation.deleted(kata_id)
            if not folder.exists():  # if it exists, another call has just fetched it
                return was_there


def _is_there(places: Places, kata_id: str) -> bool:
    return places.data_containers.exists(kata_id) or places.archive.find(kata_id) is not None


def archive(
    places: Places, kata: Kata, is_watched: Callable[[str], bool], *, with_products: bool
) -> None:
    """Put a kata into the archive, and remove its container and volume, unless only it has it.

    The archive gets what runs left in its sandboxes if `with_products`. Raises KataInUse if the
    kata is in use or `is_watched` returns true; KataNotFound, KataDamaged, ArchiveUnavailable,
    ArchiveConflict, EngineUnavailable, DiskFull or ArchiveMissing; the kata then stays as it was.
    """
    containers, kata_id, folder = places.data_containers, kata.kata_id, kata.folder
    if not containers.exists(kata_id):
        _check_archived(places, kata_id)
        return
    if not places.archive.is_configured:
        raise ArchiveMissing
    with locks.locked_at_once(folder) as is_held:
        if not containers.exists(kata_id):
            _check_archived(places, kata_id)
            return
        if not is_held or publish.is_staged(folder):
            raise KataInUse(kata_id, "a call is in progress")
        if is_watched(kata_id):
            raise KataInUse(kata_id, "a caller watches it")
        # Before the snapshot: a run in such a container changes files while they are read.
        if holders := containers.holders(kata_id):
            raise KataInUse(kata_id, f"the container {holders[0]} holds its volume")
        waits.let_others_work()  # the archive can be slow
        places.installation.renew(kata_id, folder)
        store_kata.put(places.archive, kata, with_products=with_products)
        places.installation.release(kata_id)
        # Nobody else has its files open, so they can go while the engine removes the container.
        containers.delete(kata_id, empty=partial(_empty, folder))
    metrics.KATAS_ARCHIVED.inc()
    _log.info("kata archived", kata=kata_id)


def remove_stale(places: Places, kata_id: str) -> None:
    """Remove what is here of a kata that others have by now, as this machine had it or newer.

    Raises KataInUse, EngineUnavailable, ArchiveUnavailable or EtcdUnavailable.
    """
    containers, folder = places.data_containers, places.data_containers.folder(kata_id)
    if not places.installation.is_superseded(kata_id, folder):
        return
    with locks.locked_at_once(folder) as is_held:
        if not is_held:
            raise KataInUse(kata_id, "a call is in progress")
        if places.installation.is_superseded(kata_id, folder):
            containers.delete(kata_id, empty=partial(_empty, folder))
            _log.info("stale kata removed", kata=kata_id)


def _check_archived(places: Places, kata_id: str) -> None:
    """Raise KataNotFound if the archive does not have a kata that no data-container has."""
    if places.archive.find(kata_id) is None:
        raise KataNotFound(kata_id, "neither a data-container nor the archive has this kata")


def _empty(folder: Path) -> None:
    """Remove a kata's files; the first step makes the kata invisible."""
    publish.hide(folder)
    publish.clear_hidden(folder)
