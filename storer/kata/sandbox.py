"""The sandbox that an avatar starts with. From then on it is the runner's to write."""

import os
import shutil
import stat
from pathlib import Path

import structlog

from dojo import avatars, locks, visible_files
from dojo.naming import SANDBOX
from storer.fs import durable, tree

# What the runner leaves beside a sandbox that it has written to.
SUBMISSION = "submission.json"
FOLDER = 0o755  # of folders inside, which only the avatar can get to

_log = structlog.get_logger()


def create(avatar_folder: Path, avatar: str, files: dict[str, bytes]) -> None:
    """Make the avatar's sandbox with these files, closed to everybody but the avatar.

    The folder must be out of any run's reach: it is new, or its volume is not published yet.
    """
    sandbox = f"{avatar_folder}/{SANDBOX}"
    uid = avatars.uid(avatar)
    os.mkdir(sandbox, 0o700)  # noqa: PTH102 - a path's own takes thrice as long, as all of these do
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
    """Make a folder and those around it, all the avatar's own, but for those that were `made`."""
    if folder not in made:
        _make_folders(sandbox, folder.rpartition("/")[0], uid, made)
        path = f"{sandbox}/{folder}"
        os.mkdir(path)  # noqa: PTH102 - as above
        os.chmod(path, FOLDER)  # noqa: PTH101 - as above
        os.chown(path, uid, uid)
        made.add(folder)


def mend(avatar_folder: Path, avatar: str, files: dict[str, bytes]) -> None:
    """Make the sandbox anew, with these files, if a crash took some of what it started with.

    Not where a run was, or is: then it is the runner's. If the disk is full, say, it stays as it
    is: a run brings all of its files.
    """
    sandbox = avatar_folder / SANDBOX
    with locks.locked_at_once(sandbox) as is_held:
        is_free = is_held or not sandbox.exists()
        is_new = is_free and not (avatar_folder / SUBMISSION).exists()
        if not is_new or all(_holds(sandbox / name, content) for name, content in files.items()):
            return
        anew = avatar_folder / ".anew"
        shutil.rmtree(anew, ignore_errors=True)
        try:
            anew.mkdir()
            create(anew, avatar, files)
            if sandbox.exists():
                sandbox.rename(anew / "lost")
            (anew / SANDBOX).rename(sandbox)
        except OSError as error:
            _log.warning("sandbox not made anew", avatar=avatar, reason=str(error))
        finally:
            shutil.rmtree(anew, ignore_errors=True)


def _holds(path: Path, content: bytes) -> bool:
    """Say whether a file is there and holds this."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        is_alike = stat.S_ISREG(status.st_mode) and status.st_size == len(content)
        return is_alike and file.read() == content


def give(sandbox: Path, avatar: str) -> None:
    """Make everything in a sandbox the avatar's own, and take away what could raise rights."""
    uid = avatars.uid(avatar)
    for found in tree.walk(sandbox):
        name, mode = found.path.name, found.status.st_mode
        os.chown(name, uid, uid, dir_fd=found.folder, follow_symlinks=False)
        if stat.S_ISDIR(mode):
            folder = found.open()
            os.fchmod(folder, FOLDER)
            os.close(folder)
        elif mode & 0o6000:
            os.chmod(name, mode & 0o777, dir_fd=found.folder)
    os.chown(sandbox, uid, uid)
    sandbox.chmod(0o700)
