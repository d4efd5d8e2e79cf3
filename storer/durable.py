"""Files that survive a crash: what can be seen is complete, what was answered is on disk."""

import errno
import os
from pathlib import Path

PRIVATE = 0o600  # for the storer alone: a run has another user id

_NOT_A_FILE = {errno.ELOOP, errno.ENXIO}  # a link; a socket


def write(path: Path, content: bytes) -> None:
    """Replace the file at `path`: afterwards, or after a crash, it is the old or the new one."""
    _replace(path, content, sync=True)
    sync_folder(path.parent)


def replace(path: Path, content: bytes) -> None:
    """Replace the file at `path`: who opens it finds the old or the new one.

    For what is on disk in another place already: after a crash it may be neither.
    """
    _replace(path, content, sync=False)


def _replace(path: Path, content: bytes, *, sync: bool) -> None:
    new = path.with_name(f".{path.name}.new")
    descriptor = os.open(
        new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE
    )
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        if sync:
            os.fsync(descriptor)
    new.replace(path)


def sync_folder(path: Path) -> None:
    """Put the names in a folder on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(top: Path) -> None:
    """Put everything under a folder on disk. Nobody may be writing there."""
    for _, _, filenames, folder in os.fwalk(top):
        for filename in filenames:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            try:
                descriptor = os.open(filename, flags, dir_fd=folder)
            except OSError as error:
                if error.errno in _NOT_A_FILE:
                    continue
                raise
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        os.fsync(folder)
