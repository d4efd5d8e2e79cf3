"""Fetch a kata into a data-container, from the archive, the katas directory or a saver's.

Locks: the lock on the kata's folder is held exclusively from the moment that the folder exists
until the kata is visible.
"""

import contextlib
import threading
from functools import partial
from pathlib import Path

import structlog

from dojo import limits, locks, waits
from dojo.background_task import background_task
from dojo.errors import KataNotFound, LockHeld
from storer import metrics
from storer.archive import store_kata
from storer.archive.archive import ArchivedKata
from storer.fs import tree
from storer.kata.avatar import PASSAGE
from storer.katas import create, publish
from storer.katas.intake import Intake
from storer.katas.listing import Places

# A fetch can take long, and gives up its place among the calls that work. So this bounds how many
# there are. With the kata's lock: the calls that wait for the same kata need no permit meanwhile.
_FETCHES = threading.BoundedSemaphore(limits.MAX_FETCHES)
# Those of a saver can wait long for a process: nobody who fetches another kata waits with them.
_FROM_SAVER = threading.BoundedSemaphore(limits.MAX_FETCHES_FOR_ONE)
_TOO_MANY = "as many other katas as may be are being fetched"

_log = structlog.get_logger()


def fetch(places: Places, intake: Intake, kata_id: str, *, importing: bool) -> bool:
    """Make sure that the kata is in a data-container; raise KataNotFound if that is impossible.

    Return whether it was brought there now. The archive and the directories are used only if
    `importing` is set.
    """
    containers = places.data_containers
    is_new = False
    if not containers.exists(kata_id):
        folder = containers.folder(kata_id)
        if folder.exists():  # another call creates or replaces it, or a crash interrupted one
            with contextlib.suppress(FileNotFoundError), locks.locked(folder):
                publish.recover(folder)
        if not containers.exists(kata_id):
            if not importing:
                raise KataNotFound(kata_id)
            is_new = _import(places, intake, kata_id)
    return is_new


def _import(places: Places, intake: Intake, kata_id: str) -> bool:
    containers, archive = places.data_containers, places.archive
    archived = archive.find(kata_id)
    source = places.katas_directory.folder(kata_id)
    if archived is None and source is None and not places.saver_katas.has(kata_id):
        raise KataNotFound(kata_id)
    permits = _FROM_SAVER if archived is None and source is None else _FETCHES
    with (
        create.locked_volume(containers, kata_id) as folder,
        waits.one_of(permits, LockHeld(f"kata {kata_id}", _TOO_MANY)),
    ):
        if containers.exists(kata_id):
            return False  # another call has fetched it
        # Look again, with the lock: it may have been archived after the first look.
        archived = archived or archive.find(kata_id)
        with (
            create.undo_on_error(containers, kata_id),
            publish.staging(folder) as staged,
        ):
            # A kata is visible without its container, but the import must fail if the engine has
            # no room for one.
            with background_task(partial(containers.make_handle, kata_id)):
                _fill(places, intake, kata_id, staged.folder, archived=archived, source=source)
                folder.chmod(PASSAGE)
            publish.publish(staged, folder)
            places.old_ids.note(kata_id, folder)
            if archived is not None:
                store_kata.write_note(archived, folder)
    came_from = metrics.ARCHIVE
    if archived is None:
        came_from = metrics.SAVER_DIRECTORY if source is None else metrics.KATAS_DIRECTORY
    metrics.KATAS_FETCHED.labels(came_from).inc()
    _log.info("kata imported", kata=kata_id, archived=archived is not None)
    return True


def _fill(
    places: Places,
    intake: Intake,
    kata_id: str,
    incoming: Path,
    *,
    archived: ArchivedKata | None,
    source: Path | None,
) -> None:
    if archived is not None:
        store_kata.get(places.archive, kata_id, incoming)
    elif source is not None:
        tree.copy(source, incoming)
        intake.take(incoming, kata_id)
    elif (saver := places.saver_katas.top) is not None:
        intake.take_from_saver(saver, kata_id, incoming)
