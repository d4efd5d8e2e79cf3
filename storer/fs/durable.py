"""Files that survive a crash: each visible file is complete, each acknowledged one is on disk."""

import ctypes
import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pygit2

from dojo.errors import DiskFull, DiskReadOnly

PRIVATE = 0o600  # readable by the storer alone: a run has another user id

_ERRORS = {
    errno.ENOSPC: DiskFull,
    errno.EDQUOT: DiskFull,
    errno.EROFS: DiskReadOnly,
}


# linux/fcntl.h, linux/fs.h
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextmanager
def translate_disk_errors() -> Iterator[None]:
    """Raise DiskFull or DiskReadOnly for the errors of the system and of libgit2 that mean that."""
    try:
        yield
    except OSError as error:
        if error.errno in _ERRORS:
            raise _ERRORS[error.errno](str(error)) from error
        raise
    except pygit2.GitError as error:
        for number, translated in _ERRORS.items():
            if os.strerror(number) in str(error):
                raise translated(str(error)) from error
        raise


def write(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Replace the file at `path`, durably: a crash leaves the old or the new content, whole."""
    replace(path, content)
    sync_folder(path.parent)


def replace(path: Path, content: bytes | Iterable[bytes], *, sync: bool = True) -> None:
    """Replace the file at `path`: a reader finds the old or the new content, whole.

    Content that is large can come in pieces. The folder is not synced: a crash of the machine can
    bring the old file back. Without `sync` a crash can leave neither content; use that only for
    content that is on disk elsewhere.
    """
    new = f"{path.parent}/.{path.name}.new"
    flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(new, flags, PRIVATE)
    try:
        try:
            at = 0
            for piece in (content,) if isinstance(content, bytes) else content:
                write_all(descriptor, piece, at)
                at += len(piece)
            if sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(new, path)  # noqa: PTH105 - Path.replace takes three times as long
    except BaseException:  # if the disk is full, the unfinished file would keep its space
        with suppress(OSError):
            os.unlink(new)  # noqa: PTH108 - as above
        raise


def write_all(descriptor: int, content: bytes, at: int = 0) -> None:
    """Write all of `content` at the byte offset `at`, in one write if the disk takes it."""
    rest = memoryview(content)
    while rest:
        written = os.pwrite(descriptor, rest, at)
        rest, at = rest[written:], at + written


def sync_folder(path: Path) -> None:
    """Sync a folder: the names in it are on disk afterwards."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class FileSystem:
    """The file system of a file or folder, kept open so that `sync` reports every failed write.

    The kernel reports a failed write once to each descriptor that was open at that time, and not
    to descriptors that are opened after the report. It does not retry the write.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def sync(self) -> None:
        """Sync all files of the file system; raise OSError if a write fails or failed before.

        One wait covers dozens of files, where each fsync would be a wait of its own. That other
        programs' files are synced too costs time only where they write a great deal.
        """
        # syncfs(2) reports failed writes since Linux 5.8.
        if _libc.syncfs(self._descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(self._path))

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)


def exchange(one: str, other: str) -> bool:
    """Swap the names of two files in one step.

    Return False, having done nothing, if a name is missing or the file system can't swap names.
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
