"""Removing a kata's data-container: the kata is deleted, or it is in the archive from then on.

Locks: both hold the folder's lock exclusively, and so find no call in the middle. Deleting waits
for it, archiving does not.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog

from dojo import locks
from dojo.errors import ArchiveMissing, KataInUse, KataNotFound
from storer.archive import store_kata
from storer.kata.kata import Kata
from storer.katas import publish
from storer.katas.listing import Places

_log = structlog.get_logger()


def delete(places: Places, kata_id: str) -> None:
    """Delete a kata's container and volume, and its copy in the archive.

    Raises KataNotFound; or ArchiveUnavailable or EngineUnavailable when nothing was deleted.
    """
    containers = places.data_containers
    if not containers.exists(kata_id) and places.archive.find(kata_id) is None:
        raise KataNotFound(kata_id, "neither a data-container nor the archive has this kata")
    folder = containers.folder(kata_id)
    while True:
        try:
            with locks.locked(folder):
                containers.engine.ping()  # without it nothing is begun
                # First in the archive: killed in between, the kata is whole where it is seen.
                places.archive.delete(kata_id)
                if containers.exists(kata_id):
                    publish.hide(folder)
                    containers.delete(kata_id)
                break
        except FileNotFoundError:
            places.archive.delete(kata_id)
            if not folder.exists():  # else somebody brings it back
                break
    _log.info("kata deleted")


def archive(
    places: Places, kata: Kata, is_watched: Callable[[str], bool], *, with_products: bool
) -> None:
    """Archive a kata: the archive gets it, and its container and volume go.

    With what runs left in its sandboxes if `with_products`. Raises KataInUse if somebody uses
    it, as whoever `is_watched` tells of does; KataNotFound, KataDamaged, ArchiveUnavailable,
    ArchiveConflict, EngineUnavailable, DiskFull or ArchiveMissing; then it is where it was.
    """
    containers, kata_id, folder = places.data_containers, kata.kata_id, kata.folder
    if not containers.exists(kata_id):
        raise KataNotFound(kata_id, "no data-container has this kata")
    if not places.archive.is_configured:
        raise ArchiveMissing
    with locks.locked_at_once(folder) as is_held:
        if not containers.exists(kata_id):
            raise KataNotFound(kata_id, "no data-container has this kata")
        if not is_held or publish.is_staged(folder):
            raise KataInUse(kata_id, "a call is in progress")
        if is_watched(kata_id):
            raise KataInUse(kata_id, "it is watched")
        # First of all: files come and go under who looks at them while a container is there.
        if holders := containers.holders(kata_id):
            raise KataInUse(kata_id, f"the container {holders[0]} holds its volume")
        store_kata.put(places.archive, kata, with_products=with_products)
        # Nobody else has it open, and the engine would do the same when the container is gone.
        containers.delete(kata_id, empty=partial(_empty, folder))
    _log.info("kata archived", kata=kata_id)


def _empty(folder: Path) -> None:
    """Remove a kata's files, which nobody sees from the first step on."""
    publish.hide(folder)
    publish.clear_hidden(folder)
