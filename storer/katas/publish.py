"""Publishing: what was put together out of sight becomes the kata, all of it or nothing.

A kata is put together in a folder of its own, `.incoming-...`, inside the volume that it will
be in. Whoever does so holds that folder's lock: one that nobody holds was left by a process
that died. These steps make it the kata; the lock on the kata's folder is held throughout, and
a crash after the second is finished by whoever touches the kata next.

1. everything is put on disk, and `.incoming-...` becomes `.complete`; or `.moving` at once, if
   there is no old kata
2. if there is an old kata, its files go to `.replaced`, manifest.json first: from here on the
   kata can't be seen
3. `.complete` becomes `.moving`: nothing of the old kata is left outside `.replaced`
4. the files move up, manifest.json last: from here on the kata can be seen
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from dojo import locks
from dojo.engine.data_containers import MANIFEST
from storer.fs import durable

INCOMING = ".incoming-"
COMPLETE = ".complete"
MOVING = ".moving"
REPLACED = ".replaced"
GONE = ".gone"


@dataclass(frozen=True)
class Staged:
    """A `folder` that a kata is put together in, and the file system that it is on."""

    folder: Path
    file_system: durable.FileSystem


@contextmanager
def staging(folder: Path) -> Iterator[Staged]:
    """Give a new folder to put a kata together in; it goes if it is not published.

    To be entered with the lock of `folder` held; it may be let go then.
    """
    incoming = Path(tempfile.mkdtemp(prefix=INCOMING, dir=folder))
    try:
        with locks.locked(incoming), closing(durable.FileSystem(incoming)) as file_system:
            yield Staged(incoming, file_system)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def is_staged(folder: Path) -> bool:
    """Say whether a kata is being put together in a kata's folder; remove what was left.

    For the lock's holder, as `staging` is: a folder that was made a moment ago is not locked yet.
    """
    busy = False
    for incoming in folder.glob(f"{INCOMING}*"):
        if locks.is_locked(incoming):
            busy = True
        else:
            shutil.rmtree(incoming, ignore_errors=True)
    return busy


def publish(staged: Staged, folder: Path) -> None:
    """Make what was put together the kata in `folder`, instead of any there.

    For the lock's holder, after `recover`.
    """
    staged.file_system.sync()
    staged.folder.rename(folder / (COMPLETE if _manifest_first(folder) else MOVING))
    durable.sync_folder(folder)
    try:
        _finish(folder)
    except BaseException:  # the disk is full, say
        _roll_back(folder)
        raise


def hide(folder: Path) -> None:
    """Make a kata one that can't be seen, for good, before its volume is removed.

    For the lock's holder. Whatever interrupts the removal, nobody finds half a kata; and what is
    left of one is known for that, whichever of its files went first.
    """
    (folder / MANIFEST).rename(folder / GONE)
    for path in _manifest_first(folder):
        path.rename(folder / f"{GONE}-{path.name}")
    durable.sync_folder(folder)


def clear_hidden(folder: Path) -> None:
    """Remove most of what `hide` hid: what tells that it was hidden stays, and what won't go."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)


def is_pending(folder: Path) -> bool:
    """Say whether a publishing was begun that did not come to its end."""
    return (folder / COMPLETE).exists() or (folder / MOVING).exists()


def is_interrupted(folder: Path) -> bool:
    """Say whether anything is left of a kata that was put together or replaced."""
    names = (COMPLETE, MOVING, REPLACED)
    patterns = (f"{INCOMING}*", f"{GONE}*")
    return any((folder / name).exists() for name in names) or any(
        any(folder.glob(pattern)) for pattern in patterns
    )


def recover(folder: Path) -> None:
    """Put right what a publishing left that was interrupted. For the lock's holder.

    It is finished if the old kata can't be seen any more; else it has not happened.
    """
    _roll_back(folder)
    _finish(folder)


def _roll_back(folder: Path) -> None:
    """Remove what was to be the kata if the old one can be seen still: nothing of it was moved."""
    if (folder / MANIFEST).exists():
        for name in (COMPLETE, REPLACED):
            shutil.rmtree(folder / name, ignore_errors=True)


def _finish(folder: Path) -> None:
    """Finish what `publish` began, wherever it was interrupted."""
    complete, moving, replaced = folder / COMPLETE, folder / MOVING, folder / REPLACED
    if complete.exists():
        replaced.mkdir(exist_ok=True)
        for path in _manifest_first(folder):
            path.rename(replaced / path.name)
        durable.sync_folder(folder)
        complete.rename(moving)
        durable.sync_folder(folder)
    if moving.exists():
        for path in reversed(_manifest_first(moving)):
            path.rename(folder / path.name)
        durable.sync_folder(folder)
        moving.rmdir()
    shutil.rmtree(replaced, ignore_errors=True)
    if (folder / MANIFEST).exists():
        for gone in folder.glob(f"{GONE}*"):
            if gone.is_dir() and not gone.is_symlink():
                shutil.rmtree(gone, ignore_errors=True)
            else:
                gone.unlink(missing_ok=True)


def _manifest_first(folder: Path) -> list[Path]:
    found = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return sorted(found, key=lambda path: (path.name != MANIFEST, path.name))
