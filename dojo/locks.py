"""The kernel's locks (flock) on folders and files, between threads and processes alike.

The kernel releases a lock when the process that holds it ends, however that ends.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
from pathlib import Path


@contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock of a folder or a file, waiting for it.

    A thread that takes the same lock twice waits for itself. Raises FileNotFoundError if the
    folder or file does not exist, or goes while this waits.
    """
    while True:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            flock(descriptor, LOCK_SH if shared else LOCK_EX)
            # Another one may have replaced it during the wait: then this lock guards nothing.
            if os.path.samestat(os.fstat(descriptor), os.lstat(path)):
                yield
                return
        finally:
            os.close(descriptor)


@contextmanager
def locked_at_once(path: Path, *, shared: bool = False) -> Iterator[bool]:
    """Hold the lock of a folder or a file if no wait is needed; say whether it is held.

    False also if the folder or file does not exist, or was replaced at the same time.
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
    """Say whether the lock of a folder or a file is held, or the folder or file is gone."""
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
