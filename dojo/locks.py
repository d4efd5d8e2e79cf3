"""Locks of the kernel's (flock) on folders and files, between threads and processes alike.

They go with the process that held them, however that ended, and leave nothing behind.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
from pathlib import Path


@contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock of a folder or a file, on the folder or file itself.

    It is held by this call alone: a thread that takes it twice waits for itself. Raises
    FileNotFoundError if there is none, also when it went while this waited for it.
    """
    while True:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            flock(descriptor, LOCK_SH if shared else LOCK_EX)
            # Another may have been put in its place meanwhile: then this lock guards nothing.
            if os.path.samestat(os.fstat(descriptor), os.lstat(path)):
                yield
                return
        finally:
            os.close(descriptor)


@contextmanager
def locked_at_once(path: Path, *, shared: bool = False) -> Iterator[bool]:
    """Hold the lock of a folder or a file if that needs no waiting; say whether it is held.

    False also if there is none, or another was put in its place meanwhile.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            flock(descriptor, (LOCK_SH if shared else LOCK_EX) | LOCK_NB)
            is_held = os.path.samestat(os.fstat(descriptor), os.lstat(path))
        except (BlockingIOError, FileNotFoundError):
            is_held = False
        yield is_held
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Say whether somebody holds the lock of a folder or a file, or it is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        flock(descriptor, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
