"""Create a kata, replace the one that exists, and undo either if it fails.

A kata that takes a while to assemble is staged in a folder of its own inside its volume
(`storer.katas.publish`), so its data-container exists before the kata does. A data-container that
gets no kata is deleted: at once, or by the sweep when the next storer starts.

Locks: the lock on the kata's folder is held exclusively from the moment that the folder exists
until the kata is visible, except while a kata is staged from a caller's stream.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import structlog

from dojo import avatars, kata_ids, locks, waits
from dojo.engine.data_containers import MANIFEST, DataContainers, NameTaken
from dojo.errors import ArchiveUnavailable, DojoError, KataNotFound, LockHeld
from storer.archive import store_kata
from storer.fs import durable
from storer.kata import options
from storer.kata.avatar import PASSAGE
from storer.kata.options import OPTIONS, Options
from storer.katas import listing, publish
from storer.katas.listing import Places

# A volume is locked a moment after it is created. An unlocked, older one belongs to no process.
UNFINISHED_SECONDS = 60

# How long the engine may take to create or remove a volume while another call waits for the name.
_NAME_TAKEN_SECONDS = 10.0
_RETRY_SECONDS = 0.01

_log = structlog.get_logger()


def create(places: Places, make_manifest: Callable[[str], Iterable[bytes]], chosen: Options) -> str:
    """Create a kata with a new id and the manifest.json whose pieces `make_manifest` returns.

    It has the `chosen` options. Return the id. The container and its volume are created first: they
    claim the id.
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
            is_ours = _write(places, kata_id, folder, make_manifest(kata_id), chosen)
        if is_ours:
            return kata_id
        _lock_and_delete_unfinished(places.data_containers, kata_id)


def create_as(
    places: Places,
    kata_id: str,
    make_manifest: Callable[[str], Iterable[bytes]],
    chosen: Options,
) -> bool:
    """Create the kata of this id, as `create` does; return False if a data-container has one.

    Many processes may do so at once, and any of them may die: the lock on the kata's folder decides
    who creates it, and an unfinished data-container is used.
    """
    with locked_volume(places.data_containers, kata_id) as folder:
        if places.data_containers.exists(kata_id):
            return False
        with undo_on_error(places.data_containers, kata_id):
            places.data_containers.make_handle(kata_id)
            is_ours = _write(places, kata_id, folder, make_manifest(kata_id), chosen)
        if not is_ours:
            _delete_unfinished(places.data_containers, kata_id)
    return is_ours


def _write(
    places: Places, kata_id: str, folder: Path, manifest: Iterable[bytes], chosen: Options
) -> bool:
    """Write the files of a new kata; the last makes it visible.

    Return False, and write nothing that is visible, if another machine has a kata of this id.
    """
    folder.chmod(PASSAGE)
    (folder / OPTIONS).unlink(missing_ok=True)  # of a call that died before the kata was visible
    options.write_chosen(folder, chosen)
    if not places.installation.is_shared:
        durable.write(folder / MANIFEST, manifest)
        return True
    files = {MANIFEST: b"".join(manifest)}
    if (folder / OPTIONS).exists():
        files[OPTIONS] = (folder / OPTIONS).read_bytes()
    held = places.installation.create(kata_id, files)
    if held is None:
        return False
    places.installation.arriving(folder)
    durable.write(folder / MANIFEST, files[MANIFEST])
    places.installation.arrived(kata_id, folder, held)
    return True


def stage_and_publish(
    places: Places,
    kata_id: str,
    fill: Callable[[Path], list[str]],
    is_wanted: Callable[[Path], bool],
) -> list[str] | None:
    """Stage a kata that `fill` writes into the folder it is given, and publish it.

    It replaces the kata that exists, if any. `fill` returns the names of its avatars, and must
    raise if what it wrote is incomplete or is not in the storer's form.
    `is_wanted` is then called with the staged folder, while nobody uses the existing kata. Return
    the avatars of the new kata, or None if it is not wanted.
    """
    containers = places.data_containers
    with _staged(containers, kata_id) as (folder, staged), contextlib.ExitStack() as held:
        with _told_if_deleted(kata_id, staged):
            # Without the lock: a slow sender must not keep other callers from the existing kata.
            names = fill(staged.folder)
            held.enter_context(locks.locked(folder))
            publish.recover(folder)
            is_published = is_wanted(staged.folder)
        if is_published:
            waits.check()  # from here on, the kata is replaced as a whole
            folder.chmod(PASSAGE)
            whole = partial(store_kata.whole, staged.folder, kata_id)
            owned = places.installation.replace(kata_id, whole)
            places.installation.arriving(folder)
            publish.publish(staged, folder)
            places.installation.arrived(kata_id, folder, owned)
    if not is_published:
        _lock_and_delete_unfinished(containers, kata_id)
    return names if is_published else None


@contextmanager
def _told_if_deleted(kata_id: str, staged: publish.Staged) -> Iterator[None]:
    """Raise LockHeld, whatever the block raises, if the volume was deleted in the meantime.

    Deleting the kata that is to be replaced takes what is staged along, and what is read of it
    looks damaged then.
    """
    try:
        yield
    except (OSError, DojoError) as error:
        if os.path.lexists(staged.folder):
            raise
        raise LockHeld(f"kata {kata_id}", "another call deletes it") from error


@contextmanager
def locked_volume(containers: DataContainers, kata_id: str) -> Iterator[Path]:
    """Create a kata's volume if there is none, lock its folder exclusively, and give the folder.

    The container is not created here.
    """
    folder = containers.folder(kata_id)
    with contextlib.ExitStack() as stack:
        deadline = time.monotonic() + _NAME_TAKEN_SECONDS
        while True:
            try:
                containers.ensure_volume(kata_id)
            except DojoError:
                _lock_and_delete_unfinished(
                    containers, kata_id
                )  # an engine without room can leave a volume
                raise
            waiting_since = time.monotonic()
            # The holder before may have deleted the folder: its import failed, say.
            with contextlib.suppress(FileNotFoundError):
                stack.enter_context(locks.locked(folder))
                break
            deadline += time.monotonic() - waiting_since  # waiting for other holders is no failure
            if time.monotonic() > deadline:
                raise KataNotFound(kata_id, "its data-container exists, but not its volume")
            waits.check()
            waits.let_others_work()
            time.sleep(_RETRY_SECONDS)  # the engine removes the volume for another call
        yield folder


@contextmanager
def undo_on_error(containers: DataContainers, kata_id: str) -> Iterator[None]:
    """Delete the data-container if the block fails and leaves no kata. For the lock's holder.

    Raises LockHeld if the volume was removed in the meantime: an engine that is slow can come to
    that after the call before has given up waiting for it, and the lock.
    """
    try:
        yield
    except BaseException as error:
        try:
            _delete_unfinished(containers, kata_id)
        except FileNotFoundError:
            if isinstance(error, OSError | DojoError):
                raise LockHeld(f"kata {kata_id}", "its volume was being removed") from error
        raise


def sweep(places: Places) -> None:
    """Remove what processes that died left incomplete. Call this when a storer starts.

    A kata that another process is creating is staged, or younger than UNFINISHED_SECONDS: it stays.
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
                    _delete_unfinished(containers, kata_id)


@contextmanager
def _staged(containers: DataContainers, kata_id: str) -> Iterator[tuple[Path, publish.Staged]]:
    """Give a kata's folder, and a folder inside it to stage the kata in.

    Creates the data-container if there is none, and deletes it if it gets no kata.
    """
    folder = containers.folder(kata_id)
    try:
        with contextlib.ExitStack() as stack:
            # With the lock: else another call, which fails, could delete the container before.
            with locked_volume(containers, kata_id):
                containers.make_handle(kata_id)
                staged = stack.enter_context(publish.staging(folder))
            yield folder, staged
    except BaseException:
        _lock_and_delete_unfinished(containers, kata_id)
        raise


def _lock_and_delete_unfinished(containers: DataContainers, kata_id: str) -> None:
    """Lock the folder of a data-container that has no kata, if it exists, and delete it.

    Waits for the lock even if the call has ended: the holder may have kept the data-container for
    the sake of this call, whose staging folder it saw.
    """
    folder = containers.folder(kata_id)
    with contextlib.suppress(FileNotFoundError), locks.locked(folder, for_call=False):
        _delete_unfinished(containers, kata_id)


def _delete_unfinished(containers: DataContainers, kata_id: str) -> None:
    """Delete a data-container that neither has a kata nor gets one. For the lock's holder."""
    folder = containers.folder(kata_id)
    is_needed = publish.is_pending(folder) or publish.is_staged(folder)
    is_deleted = (folder / publish.GONE).exists()
    if not is_deleted and any(avatars.is_name(path.name) for path in folder.iterdir()):
        # A participant's work, although no kata is visible without its manifest.json.
        is_needed = True
    if not containers.exists(kata_id) and not is_needed:
        with contextlib.suppress(DojoError):  # the next sweep tries again
            containers.delete(kata_id)
            _log.debug("data-container removed, as no kata came into it", kata=kata_id)
