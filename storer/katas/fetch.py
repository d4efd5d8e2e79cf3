"""Fetch a kata into a data-container, from the archive, the katas directory or a saver's.

Locks: the lock on the kata's folder is held exclusively from the moment that the folder exists
until the kata is visible.
"""

import contextlib
import threading
from contextlib import closing
from functools import partial
from pathlib import Path

import structlog

from dojo import limits, locks, waits
from dojo.background_task import background_task
from dojo.errors import KataMoved, KataNotFound, LockHeld
from storer import metrics
from storer.archive import store_kata
from storer.archive.archive import Archive, ArchivedKata
from storer.archive.extract import extract
from storer.cluster.installation import EVERYTHING, NOTHING
from storer.cluster.ledger import Kept
from storer.cluster.owners import Held
from storer.cluster.records import Base
from storer.fs import durable, tree
from storer.kata.avatar import PASSAGE
from storer.kata.kata import Kata
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
    if places.installation.is_shared:
        return _fetch_shared(places, intake, kata_id, importing=importing)
    if not containers.exists(kata_id):
        folder = containers.folder(kata_id)
        if folder.exists():  # another call creates or replaces it, or a crash interrupted one
            with contextlib.suppress(FileNotFoundError), locks.locked(folder):
                publish.recover(folder)
        if not containers.exists(kata_id):
            if not importing:
                raise KataNotFound(kata_id)
            is_new = _import(places, intake, kata_id, EVERYTHING)
    return is_new


def _fetch_shared(places: Places, intake: Intake, kata_id: str, *, importing: bool) -> bool:
    """Fetch a kata of several machines, as `fetch` does: make this one its owner."""
    installation = places.installation
    if installation.is_settled(kata_id) and places.data_containers.exists(kata_id):
        return False
    # What only looks, such as a watch, takes no kata from where its next call goes.
    if not importing and installation.is_in_use(kata_id) and not installation.is_ours(kata_id):
        raise KataMoved(kata_id)
    take_over = partial(_take_over, places, intake, kata_id, importing=importing)
    return places.fetches.make(kata_id, take_over, importing=importing)


def _take_over(places: Places, intake: Intake, kata_id: str, *, importing: bool) -> bool:
    """Make this machine the owner of a kata, and have all of the kata here.

    What is here of it stays if only lights are missing, or if nobody can have more of it; else it
    is replaced by what the owner before had acknowledged.
    """
    containers, installation = places.data_containers, places.installation
    folder = containers.folder(kata_id)

    def exists() -> bool:
        is_newest = containers.exists(kata_id) and installation.is_newest(kata_id, folder)
        return is_newest or (importing and _is_to_import(places, kata_id))

    held = installation.claim(kata_id, exists)
    if installation.is_here(kata_id) and containers.exists(kata_id):
        return False
    installation.check(kata_id)
    if containers.exists(kata_id):
        with contextlib.suppress(FileNotFoundError), locks.locked(folder):
            if installation.is_here(kata_id):
                return False  # another call has just brought it up to date
            publish.recover(folder)
            if installation.continues(held, folder):
                _catch_up(places, kata_id, folder, held)
                return True
            # Whoever had it before had nothing of it, or what is here.
            if installation.is_newest(kata_id, folder) and installation.kept(kata_id) == NOTHING:
                whole = partial(store_kata.whole, folder, kata_id)
                held = installation.replace(kata_id, whole, held)
                installation.arrived(kata_id, folder, held)
                return True
    return _import(places, intake, kata_id, held)


def _catch_up(places: Places, kata_id: str, folder: Path, held: Held) -> None:
    """Add to a kata what was kept of it and is not here. For its lock's holder, exclusively."""
    kept = places.installation.kept_since(kata_id, held)
    with closing(durable.FileSystem(folder)) as file_system:
        Kata.detached(folder, kata_id).add(kept.entries, kept.options)
        file_system.sync()
    places.installation.arrived(kata_id, folder, held)


def copy(places: Places, kata_id: str, folder: Path) -> Kata:
    """Return a copy of a kata that a machine owns, as it was at one moment, in an empty folder.

    It is made of what every machine can read, and has nothing of runs since the last whole copy in
    the archive. The owner is not asked. Raises KataNotFound, ArchiveDamaged or others.
    """
    kept = places.installation.kept(kata_id)
    if kept.base is not None:
        _fill_from(kept.base, places.archive, kata_id, folder)
    else:
        store_kata.get(places.archive, kata_id, folder)
    kata = Kata.detached(folder, kata_id)
    _add(kept, kata)
    return kata


def _is_to_import(places: Places, kata_id: str) -> bool:
    return places.archive.find(kata_id) is not None or places.imports(kata_id)


def _import(places: Places, intake: Intake, kata_id: str, held: Held) -> bool:
    containers, archive = places.data_containers, places.archive
    installation = places.installation
    archived = archive.find(kata_id)
    source = places.katas_directory.folder(kata_id)
    kept = installation.kept(kata_id)
    is_kept = archived is not None or kept.base is not None
    if not is_kept and not places.imports(kata_id):
        raise KataNotFound(kata_id)
    permits = _FETCHES if is_kept or source is not None else _FROM_SAVER
    with (
        create.locked_volume(containers, kata_id) as folder,
        waits.one_of(permits, LockHeld(f"kata {kata_id}", _TOO_MANY)),
    ):
        if containers.exists(kata_id) and installation.is_here(kata_id):
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
                if kept.base is not None:
                    _fill_from(kept.base, archive, kata_id, staged.folder)
                else:
                    _fill(places, intake, kata_id, staged.folder, archived=archived, source=source)
                if is_kept:
                    _add(kept, Kata.detached(staged.folder, kata_id))
                else:
                    whole = partial(store_kata.whole, staged.folder, kata_id)
                    held = installation.replace(kata_id, whole, held)
                folder.chmod(PASSAGE)
            installation.arriving(folder)
            publish.publish(staged, folder)
            installation.arrived(kata_id, folder, held)
            places.old_ids.note(kata_id, folder)
            if archived is not None:
                store_kata.write_note(archived, folder)
    came_from = metrics.ARCHIVE
    if archived is None:
        came_from = metrics.SAVER_DIRECTORY if source is None else metrics.KATAS_DIRECTORY
    metrics.KATAS_FETCHED.labels(came_from).inc()
    _log.info("kata imported", kata=kata_id, archived=archived is not None)
    return True


def _fill_from(base: Base, archive: Archive, kata_id: str, incoming: Path) -> None:
    """Write what a kata began with."""
    if base.tar:
        with archive.open_body(kata_id, base.tar) as sealed:
            extract(sealed, kata_id, incoming)
    for name, content in base.files.items():
        durable.replace(incoming / name, content, sync=False)


def _add(kept: Kept, kata: Kata) -> None:
    """Add what was kept of a kata that is staged, and bring its sandboxes up to date."""
    if kept == NOTHING:
        return
    before = {name: store_kata.visible_names(kata.folder / name) for name in kata.avatar_names()}
    kata.add(kept.entries, kept.options)
    for name in kept.entries:
        store_kata.check_out(kata.folder / name, before.get(name, set()))


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
