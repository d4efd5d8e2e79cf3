"""Publish a staged kata: it becomes the visible one as a whole or not at all.

A kata is staged in a folder of its own, `.incoming-...`, inside the volume that it will be in. The
stager holds that folder's lock; an unlocked one was left by a process that died. Publishing takes
the steps below, all with the lock on the kata's folder held. After a crash in step 1, the old kata
stays. After a later crash, the next caller that uses the kata completes the steps.

1. Everything is synced to disk. `.incoming-...` becomes `.complete`, or `.moving` at once if there
   is no old kata.
2. The files of the old kata, if there is one, move to `.replaced`, manifest.json first: from here
   on the old kata is not visible.
3. `.complete` becomes `.moving`: nothing of the old kata is left outside `.replaced`.
4. The files move up, manifest.json last: from here on the new kata is visible.

The container of a run makes its working folder when it starts, in the middle of these steps, too.
Such a folder is of no kata, and makes room.
"""

import errno
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

_IN_THE_WAY = {errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR}


@dataclass(frozen=True)
class Staged:
    """The `folder` in which a kata is staged, and the file system that the folder is on."""

    folder: Path
    file_system: durable.FileSystem


@contextmanager
def staging(folder: Path) -> Iterator[Staged]:
    """Give a new folder to stage a kata in; the folder is removed if it is not published.

    Enter this with the lock on `folder` held. The lock may be released inside the block.
    """
    incoming = Path(tempfile.mkdtemp(prefix=INCOMING, dir=folder))
    try:
        with locks.locked(incoming), closing(durable.FileSystem(incoming)) as file_system:
            yield Staged(incoming, file_system)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def is_staged(folder: Path) -> bool:
    """Say whether a process stages a kata in this folder; remove what dead processes staged.

    For the lock's holder, as `staging` is: a folder that it has just created is not locked yet.
    """
    busy = False
    for incoming in folder.glob(f"{INCOMING}*"):
        if locks.is_locked(incoming):
            busy = True
        else:
            shutil.rmtree(incoming, ignore_errors=True)
    return busy


def publish(staged: Staged, folder: Path) -> None:
    """Make the staged kata the one in `folder`, in place of any other.

    For the lock's holder, after `recover`.
    """
    staged.file_system.sync()
    staged.folder.rename(folder / (COMPLETE if _manifest_first(folder) else MOVING))
    durable.sync_folder(folder)
    try:
        _finish(folder)
    except BaseException:  # such as a full disk
        _roll_back(folder)
        raise


def hide(folder: Path) -> None:
    """Make a kata invisible for good, before its volume is removed.

    For the lock's holder. If the removal is interrupted, nobody sees half a kata, and what is left
    is recognized as a removed kata, whichever of its files went first.
    """
    (folder / MANIFEST).rename(folder / GONE)
    for path in _manifest_first(folder):
        path.rename(folder / f"{GONE}-{path.name}")
    durable.sync_folder(folder)


def clear_hidden(folder: Path) -> None:
    """Remove the folders that `hide` hid; the files that mark the kata as removed stay."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)


def is_pending(folder: Path) -> bool:
    """Say whether a publish is incomplete."""
    return (folder / COMPLETE).exists() or (folder / MOVING).exists()


def is_interrupted(folder: Path) -> bool:
    """Say whether staging, publishing or removing a kata left anything behind."""
    names = (COMPLETE, MOVING, REPLACED)
    patterns = (f"{INCOMING}*", f"{GONE}*")
    return any((folder / name).exists() for name in names) or any(
        any(folder.glob(pattern)) for pattern in patterns
    )


def recover(folder: Path) -> None:
    """Complete or roll back an interrupted publish. For the lock's holder.

    It is completed if the old kata is no longer visible, and rolled back otherwise.
    """
    _roll_back(folder)
    _finish(folder)


def _roll_back(folder: Path) -> None:
    """Remove the new kata if the old one is still visible: none of its files has moved then."""
    if (folder / MANIFEST).exists():
        for name in (COMPLETE, REPLACED):
            shutil.rmtree(folder / name, ignore_errors=True)


def _finish(folder: Path) -> None:
    """Complete `publish` from wherever it was interrupted."""
    complete, moving, replaced = folder / COMPLETE, folder / MOVING, folder / REPLACED
    if complete.exists():
        replaced.mkdir(exist_ok=True)
        while found := _manifest_first(folder):
            for path in found:
                _move(path, replaced)
        durable.sync_folder(folder)
        complete.rename(moving)
        durable.sync_folder(folder)
    if moving.exists():
        for path in reversed(_manifest_first(moving)):
            _move(path, folder)
        durable.sync_folder(folder)
        moving.rmdir()
    shutil.rmtree(replaced, ignore_errors=True)
    if (folder / MANIFEST).exists():
        for gone in folder.glob(f"{GONE}*"):
            if gone.is_dir() and not gone.is_symlink():
                shutil.rmtree(gone, ignore_errors=True)
            else:
                gone.unlink(missing_ok=True)


def _move(path: Path, folder: Path) -> None:
    """Move a file or folder into another folder, in place of what may be there."""
    target = folder / path.name
    while True:
        try:
            path.rename(target)
        except OSError as error:
            if error.errno not in _IN_THE_WAY:
                raise
            shutil.rmtree(target)
        else:
            return


def _manifest_first(folder: Path) -> list[Path]:
    found = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return sorted(found, key=lambda path: (path.name != MANIFEST, path.name))
