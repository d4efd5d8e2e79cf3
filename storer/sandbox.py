"""The sandbox that an avatar starts with. From then on it is the runner's to write."""

import os
import shutil
import stat
from pathlib import Path

from dojo import avatars, visible_files

SANDBOX = "sandbox"
FOLDER = 0o755  # of folders inside, which only the avatar can get to


def create(avatar_folder: Path, avatar: str, files: dict[str, bytes]) -> None:
    """Make the avatar's sandbox with these files, closed to everybody but the avatar.

    The folder must be out of any run's reach: it is new, or its volume is not published yet.
    """
    sandbox = avatar_folder / SANDBOX
    sandbox.mkdir()
    for name, content in files.items():
        path = sandbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(visible_files.mode(name))
    give(sandbox, avatar)


def mend(avatar_folder: Path, avatar: str, files: dict[str, bytes]) -> None:
    """Make the sandbox anew, with these files, if a crash took some of what it started with."""
    sandbox = avatar_folder / SANDBOX
    if all(_size(sandbox / name) == len(content) for name, content in files.items()):
        return
    anew = avatar_folder / ".anew"
    shutil.rmtree(anew, ignore_errors=True)
    anew.mkdir()
    create(anew, avatar, files)
    if sandbox.exists():
        sandbox.rename(anew / "lost")
    (anew / SANDBOX).rename(sandbox)
    shutil.rmtree(anew, ignore_errors=True)


def _size(path: Path) -> int:
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return -1
    return status.st_size if stat.S_ISREG(status.st_mode) else -1


def give(sandbox: Path, avatar: str) -> None:
    """Make everything in a sandbox the avatar's own, and take away what could raise rights."""
    uid = avatars.uid(avatar)
    for _, folder_names, filenames, folder in os.fwalk(sandbox):
        for name in folder_names + filenames:
            os.chown(name, uid, uid, dir_fd=folder, follow_symlinks=False)
        for name in filenames:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if status.st_mode & 0o6000:
                os.chmod(name, status.st_mode & 0o777, dir_fd=folder)
        os.fchmod(folder, FOLDER)
    os.chown(sandbox, uid, uid)
    sandbox.chmod(0o700)
