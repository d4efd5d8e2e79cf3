"""Files that survive a crash: what can be seen is complete, what was answered is on disk."""

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pygit2

from dojo.errors import DiskFull, DiskReadOnly

PRIVATE = 0o600  # for the storer alone: a run has another user id

_REFUSALS = {
    errno.ENOSPC: DiskFull,
    errno.EDQUOT: DiskFull,
    errno.EROFS: DiskReadOnly,
}


# linux/fcntl.h, linux/fs.h
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextmanager
def refusing() -> Iterator[None]:
    """Turn a disk that takes no more, as the system or libgit2 tells of it, into our errors."""
    try:
        yield
    except OSError as error:
        if error.errno in _REFUSALS:
            raise _REFUSALS[error.errno](str(error)) from error
        raise
    except pygit2.GitError as error:
        for number, refusal in _REFUSALS.items():
            if os.strerror(number) in str(error):
                raise refusal(str(error)) from error
        raise


def write(path: Path, content: bytes) -> None:
    """Replace the file at `path`: afterwards, or after a crash, it is the old or the new one."""
    replace(path, content)
    sync_folder(path.parent)


def replace(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Replace the file at `path`: who opens it finds the old or the new one, whole.

    After a crash of the machine, before its folder is synced, it may be the old one again; not
    synced itself, for what is on disk in another place already, it may be neither.
    """
    new = f"{path.parent}/.{path.name}.new"
    flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(new, flags, PRIVATE)
    try:
        try:
            write_all(descriptor, content)
            if sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(new, path)  # noqa: PTH105 - a path's own takes thrice as long
    except BaseException:  # the disk is full, say: what there is of it takes none of its room
        with suppress(OSError):
            os.unlink(new)  # noqa: PTH108 - as above
        raise


def write_all(descriptor: int, content: bytes, at: int = 0) -> None:
    """Write all of `content`, `at` so many bytes, in one piece if the disk takes it so."""
    rest = memoryview(content)
    while rest:
        written = os.pwrite(descriptor, rest, at)
        rest, at = rest[written:], at + written


def sync_folder(path: Path) -> None:
    """Put the names in a folder on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class FileSystem:
    """The file system of a file or folder, held on to: no failure to write meanwhile is missed.

    The kernel tells of one once to whoever had something open at that time, and not to those who
    open it after somebody was told; nor does it try again to write what it could not.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def sync(self) -> None:
        """Put everything on disk that it holds; raise OSError if something can't be, or could not.

        Dozens of files are there after one wait, where each would take one of its own. That
        others' files go to the disk too costs more only where they write a great deal.
        """
        # syncfs(2): since Linux 5.8 it says if something could not be written.
        if _libc.syncfs(self._descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(self._path))

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)


def exchange(one: str, other: str) -> bool:
    """Have two files take each other's names, at once; False where that is not possible.

    As there is none of the `other` name, or the file system can't.
    """
    names = one.encode(), other.encode()
    done: int = _libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE)
    if done == 0:
        return True
    number = ctypes.get_errno()
    if number in {errno.ENOENT, errno.EINVAL, errno.ENOSYS}:
        return False
    raise OSError(number, os.strerror(number), other)


_libc = ctypes.CDLL(None, use_errno=True)
