"""The sandbox that an avatar starts with. After that, only the runner writes in the sandbox."""

import os
import shutil
import stat
from pathlib import Path

import structlog

from dojo import avatars, locks, visible_files
from dojo.naming import SANDBOX
from storer.fs import durable, tree

# The runner writes this file beside a sandbox that it has used.
SUBMISSION = "submission.json"
FOLDER = 0o755  # the mode of folders inside, which only the avatar can reach

_log = structlog.get_logger()


def create(avatar_folder: Path, avatar: str, files: dict[str, bytes]) -> None:
    """Create the avatar's sandbox with these files, closed to all users but the avatar.

    No run may reach the folder: it has to be new, or its volume not published yet. Else a program
    could plant links on the way.
    """
    sandbox = f"{avatar_folder}/{SANDBOX}"
    uid = avatars.uid(avatar)
    os.mkdir(sandbox, 0o700)  # noqa: PTH102 - Path.mkdir takes three times as long, as below
    made = {""}
    for name, content in files.items():
        _make_folders(sandbox, name.rpartition("/")[0], uid, made)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(f"{sandbox}/{name}", flags, 0o600)
        try:
            durable.write_all(descriptor, content)
            os.fchmod(descriptor, visible_files.mode(name))
            os.fchown(descriptor, uid, uid)
        finally:
            os.close(descriptor)
    os.chown(sandbox, uid, uid)


def _make_folders(sandbox: str, folder: str, uid: int, made: set[str]) -> None:
    """Make a folder and its parents, owned by the avatar, unless they are in `made`."""
    if folder not in made:
        _make_folders(sandbox, folder.rpartition("/")[0], uid, made)
        path = f"{sandbox}/{folder}"
        os.mkdir(path)  # noqa: PTH102 - as above
        os.chmod(path, FOLDER)  # noqa: PTH101 - as above
        os.chown(path, uid, uid)
        made.add(folder)


def repair(avatar_folder: Path, avatar: str, files: dict[str, bytes]) -> None:
    """Rebuild the sandbox with these files if a crash took some of them.

    A sandbox that a run has used, or is using, is left alone: it belongs to the runner. A failure,
    such as a full disk, is logged and not raised: each run brings all visible files.
    """
    sandbox = avatar_folder / SANDBOX
    with locks.locked_at_once(sandbox) as is_held:
        is_free = is_held or not sandbox.exists()
        is_new = is_free and not (avatar_folder / SUBMISSION).exists()
        if not is_new or all(holds(sandbox / name, content) for name, content in files.items()):
            return
        rebuilt = avatar_folder / ".anew"
        shutil.rmtree(rebuilt, ignore_errors=True)
        try:
            rebuilt.mkdir()
            create(rebuilt, avatar, files)
            if sandbox.exists():
                sandbox.rename(rebuilt / "lost")
            (rebuilt / SANDBOX).rename(sandbox)
        except OSError as error:
            _log.warning("sandbox not repaired", avatar=avatar, reason=str(error))
        finally:
            shutil.rmtree(rebuilt, ignore_errors=True)


def holds(path: Path, content: bytes) -> bool:
    """Return whether there is a file with exactly this content."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size != len(content):
            return False
        with open(descriptor, "rb", closefd=False) as file:
            return file.read() == content
    finally:
        os.close(descriptor)


def chown(sandbox: Path, avatar: str) -> None:
    """Make the avatar the owner of everything in a sandbox; clear files' setuid and setgid bits."""
    uid = avatars.uid(avatar)
    for entry in tree.walk(sandbox):
        name, mode = entry.path.name, entry.status.st_mode
        os.chown(name, uid, uid, dir_fd=entry.folder, follow_symlinks=False)
        if stat.S_ISREG(mode) and mode & 0o6000:
            os.chmod(name, mode & 0o777, dir_fd=entry.folder)
    os.chown(sandbox, uid, uid)
    sandbox.chmod(0o700)
