"""Put a kata into the archive, and get it back. For the holder of the lock on the kata's folder.

A kata that was fetched stays in the archive as it was then. A note in the kata's folder has the
archive's stamp and a fingerprint of the files: while both are unchanged, archiving the kata again
writes nothing. If the archive's stamp differs, another machine wrote there: the archived kata is
compared with this one, and never replaced if it has lights that this one has not.
"""

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain
from pathlib import Path, PurePosixPath

import structlog
import zstandard

from dojo import locks, visible_files
from dojo.errors import ArchiveConflict, ArchiveDamaged, KataDamaged, KataNotFound
from dojo.naming import SANDBOX
from storer.archive import index
from storer.archive.archive import Archive, ArchivedKata, Copy, head_frame
from storer.archive.extract import extract
from storer.archive.object_packs import ObjectPacks
from storer.fs import durable, json_files, tree
from storer.fs.json_files import Unreadable
from storer.kata import sandbox
from storer.kata.ancestry import is_ancestor
from storer.kata.avatar import MANIFEST
from storer.kata.kata import Kata
from storer.kata.sandbox import SUBMISSION
from storer.tar import snapshot
from storer.tar.packing import PackedObjects, pack_objects
from storer.tar.snapshot import Snapshot

# Names that begin with a dot are no part of the kata.
NOTE = ".archived"
_NO_FINGERPRINT = "-"  # stands for a kata that has to be written again

_COPYING = ".copying"
# Beside the kata's files: on the same disk, and removed with them.
_COMPARISONS = ".comparing-"

_log = structlog.get_logger()


def put(archive: Archive, kata: Kata, *, with_products: bool) -> None:
    """Make sure that the archive durably has the kata as it is, or a newer one.

    It gets what runs left in sandboxes if `with_products`. Raises ArchiveUnavailable,
    ArchiveConflict or DiskFull; KataDamaged if an avatar is damaged, and whole in the archive.
    """
    if is_up_to_date(archive, kata):
        index.write(archive, kata)
        return
    if not is_wanted(archive, kata):
        return
    with ExitStack() as opened, durable.translate_disk_errors():
        taken = Snapshot(kata, opened)
        leave_out = (lambda _: False) if with_products else _products(kata)
        packed = opened.enter_context(pack_objects(kata, taken.references))
        refuse_worse(archive, kata, taken.damaged | packed.damaged)
        archive.put(kata.kata_id, tar(taken, packed, leave_out))
    index.write(archive, kata)


@contextmanager
def copying(folder: Path) -> Iterator[None]:
    """Be the only one who copies the kata in `folder`, which is in use, to the archive.

    For the holder of the kata's lock, shared.
    """
    lock = folder / _COPYING
    lock.touch(mode=durable.PRIVATE)
    with locks.locked(lock):
        yield


def is_wanted(archive: Archive, kata: Kata) -> bool:
    """Say whether the kata should replace the one in the archive.

    It should not if the archived one continues it. Raises ArchiveConflict if each has lights that
    the other has not; KataDamaged, ArchiveUnavailable or DiskFull.
    """
    found = archive.find(kata.kata_id)
    if found is None or found.stamp == _read_stamp(kata.folder):
        return True
    with _archived(archive, kata) as archived_kata:
        if archived_kata is None or is_ancestor(archived_kata, kata):
            return True
        if is_ancestor(kata, archived_kata):
            _log.info("archive is newer", kata=kata.kata_id)
            return False
    raise ArchiveConflict(kata.kata_id)


def refuse_worse(archive: Archive, kata: Kata, damaged: Collection[str]) -> None:
    """Raise KataDamaged if one of the `damaged` avatars of a kata is whole in the archive.

    The archived kata is then the only one that has the avatar.
    """
    if not damaged or archive.find(kata.kata_id) is None:
        return
    with _archived(archive, kata) as archived_kata:
        if archived_kata is None:
            return
        lights, _ = archived_kata.lights()
        with pack_objects(archived_kata, {}) as packed:
            whole = lights.keys() - packed.damaged
        for name in sorted(whole.intersection(damaged)):
            reason = "is damaged here, and whole in the archive, whose copy of the kata stays"
            raise KataDamaged(kata.kata_id, name, reason)


@contextmanager
def _archived(archive: Archive, kata: Kata) -> Iterator[Kata | None]:
    """Give the archived kata in a temporary folder; None if the archive has none that is whole."""
    for leftover in kata.folder.glob(f"{_COMPARISONS}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    with (
        durable.translate_disk_errors(),
        tempfile.TemporaryDirectory(prefix=_COMPARISONS, dir=kata.folder) as folder,
    ):
        found: Kata | None = Kata.detached(Path(folder), kata.kata_id)
        try:
            get(archive, kata.kata_id, Path(folder))
        except KataNotFound:  # another process has just deleted it
            found = None
        except ArchiveDamaged as error:
            _log.warning("archive damaged, writing again", kata=kata.kata_id, reason=str(error))
            found = None
        yield found


def whole(folder: Path, kata_id: str) -> Iterator[bytes]:
    """Yield the compressed tar of a kata that nobody else uses, with everything that it has."""
    with ExitStack() as opened, durable.translate_disk_errors():
        taken = Snapshot(Kata.detached(folder, kata_id), opened)
        packed = opened.enter_context(pack_objects(taken.kata, taken.references))
        yield from tar(taken, packed, lambda _: False)


def tar(
    taken: Snapshot, packed: PackedObjects, leave_out: Callable[[PurePosixPath], bool]
) -> Iterator[bytes]:
    """Yield the compressed tar of a kata, and the frame with its head."""
    members = snapshot.members(taken, packed=packed, leave_out=leave_out, is_held=True)
    compressor = zstandard.ZstdCompressor().compressobj()
    for piece in chain(members, [snapshot.END]):
        if compressed := compressor.compress(piece):
            yield compressed
    yield compressor.flush()
    yield head_frame(taken.head.digest)


def get(archive: Archive, kata_id: str, folder: Path) -> None:
    """Extract the archived kata into `folder`, which is empty and which nobody sees.

    Raises KataNotFound, ArchiveDamaged or ArchiveUnavailable.
    """
    # All of one edition: a former owner may write another one in the middle of this.
    while True:
        edition = archive.newest_edition(kata_id)
        try:
            _get_edition(archive, kata_id, folder, edition)
        except KataNotFound:
            if archive.newest_edition(kata_id) == edition:
                raise
            _clear(folder)
        else:
            return


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _get_edition(archive: Archive, kata_id: str, folder: Path, edition: str) -> None:
    with archive.open(kata_id, edition) as sealed:
        extract(sealed, kata_id, folder)
    base = Copy.base_of(sealed.digest)
    copies = [copy for copy in archive.copies(kata_id, edition) if copy.base == base]
    if [copy.number for copy in copies] != list(range(1, len(copies) + 1)):
        raise ArchiveDamaged(sealed.key, f"the copies that add to it have gaps: {copies}")
    found = folder.glob(f"*/{MANIFEST}")
    names_before = {path.parent.name: visible_names(path.parent) for path in found}
    packs = ObjectPacks(folder)
    for copy in copies:
        with archive.open_copy(kata_id, copy) as added:
            extract(added, kata_id, folder, packs)
    packs.write()
    if copies:
        for path in folder.glob(f"*/{MANIFEST}"):
            with suppress(Unreadable):  # the sandbox of a damaged avatar stays as it was
                check_out(path.parent, names_before.get(path.parent.name, set()))


def visible_names(avatar: Path) -> set[str]:
    """Return the names of an avatar's visible files; none if their list can't be read."""
    with suppress(Unreadable):
        return set(json_files.read(avatar / MANIFEST, dict))
    return set()


def check_out(avatar: Path, names_before: set[str]) -> None:
    """Update an avatar's sandbox from the visible files before the copies to those of now.

    Raises Unreadable.
    """
    files = json_files.read_files(json_files.read(avatar / MANIFEST, dict))
    # The kata may come from a tar that a caller made: no name may lead out of the sandbox.
    files = {name: content for name, content in files.items() if not visible_files.name_fault(name)}
    folder = avatar / SANDBOX
    if not folder.exists():
        sandbox.create(avatar, avatar.name, files)
    for name in names_before - set(files):
        if not visible_files.name_fault(name):
            _remove_obstacle(folder, name)
    for name, content in files.items():
        path = folder / name
        if not sandbox.holds(path, content):
            _remove_obstacle(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(visible_files.mode(name))
    sandbox.chown(folder, avatar.name)


def _remove_obstacle(folder: Path, name: str) -> None:
    """Remove what is in the place of a visible file, and links in the place of its folders."""
    path = folder
    for part in PurePosixPath(name).parts:
        path = path / part
        is_last = path == folder / name
        if path.is_symlink() or (path.exists() and path.is_dir() == is_last):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
            return
        if is_last:
            path.unlink(missing_ok=True)


def is_up_to_date(archive: Archive, kata: Kata) -> bool:
    """Say whether the archive has the kata exactly as it is."""
    try:
        note = (kata.folder / NOTE).read_bytes()
    except FileNotFoundError:
        return False
    found = archive.find(kata.kata_id)
    return found is not None and note == _note(found, kata.folder)


def write_note(found: ArchivedKata, folder: Path) -> None:
    """Note that the archive has the kata exactly as it is."""
    with suppress(OSError):  # without a note, the kata is written once more
        durable.replace(folder / NOTE, _note(found, folder), sync=False)


def supersede(found: ArchivedKata, folder: Path) -> None:
    """Note that the kata is to replace the archived one, whatever that is."""
    with suppress(OSError):  # without a note, the two are compared
        durable.replace(folder / NOTE, f"{found.stamp} {_NO_FINGERPRINT}\n".encode(), sync=False)


def _read_stamp(folder: Path) -> str:
    """Return the archive's stamp from the note, or "" if there is none."""
    try:
        return (folder / NOTE).read_text("ascii", "replace").partition(" ")[0]
    except FileNotFoundError:
        return ""


def _note(found: ArchivedKata, folder: Path) -> bytes:
    return f"{found.stamp} {_fingerprint(folder)}\n".encode()


def _fingerprint(folder: Path) -> str:
    """Return a digest that changes with every file of the kata, without reading the files.

    It has the change times of the inodes (ctime), which no program can set.
    """
    digest = hashlib.sha256()
    for found in tree.walk(folder, lambda path: not path.parts[0].startswith(".")):
        if found.path.parts[0].startswith("."):
            continue
        status, version = found.status, "folder"
        if not stat.S_ISDIR(status.st_mode):
            version = f"{status.st_ino} {status.st_ctime_ns} {status.st_size}"
        digest.update(os.fsencode(f"{found.path}\0{version}\0"))
    return digest.hexdigest()


def _products(kata: Kata) -> Callable[[PurePosixPath], bool]:
    """Return a predicate that tells which files of the kata are build products of runs.

    Visible files are none, nor are those that the runner submitted. Of a damaged avatar nothing is:
    its sandbox can be all that is left of its files.
    """
    visible: dict[str, set[str]] = {}
    for name in kata.avatar_names():
        with suppress(Unreadable):
            visible[name] = _visible(kata, name)

    def is_product(path: PurePosixPath) -> bool:
        avatar, *inside = path.parts
        if avatar not in visible or inside[:1] != [SANDBOX] or len(inside) < 2:
            return False
        return "/".join(inside[1:]) not in visible[avatar]

    return is_product


def _visible(kata: Kata, avatar: str) -> set[str]:
    """Return the names of the avatar's visible files, and of the folders that contain them.

    Raises Unreadable if the avatar is damaged.
    """
    names: set[str] = set()
    folder = kata.folder / avatar
    names.update(json_files.read(folder / MANIFEST, dict))
    with suppress(OSError, Unreadable, TypeError, KeyError):  # no run, or not ours
        names.update(json_files.read(folder / SUBMISSION, dict)["filenames"])
    parents = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    return names | parents
