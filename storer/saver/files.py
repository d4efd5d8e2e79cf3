"""Reads files of a saver's directory, without following a link and with a bound.

Somebody else writes there, and it may be damaged or hostile.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath

from dojo import limits
from dojo.budget import Budget
from storer.fs import tree

# No file of a saver that can be read is larger.
MAX_FILE_BYTES = limits.GIT_CHAIN_BYTES

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}
_BROKEN = {errno.EIO, errno.EUCLEAN, errno.EBADMSG, errno.EACCES, errno.ENXIO}


class Damaged(Exception):
    """A file of a saver is missing, malformed or too large; `path` is in the saver's directory."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class Folder:
    """An open folder of a saver's directory. Belongs to one thread."""

    def __init__(self, descriptor: int, path: str) -> None:
        """`path` is the folder's in the saver's directory."""
        self.descriptor = descriptor
        self.path = path

    def names(self) -> list[str]:
        """Return the names in the folder, in order."""
        return sorted(os.listdir(self.descriptor))

    def has(self, name: str) -> bool:
        """Say whether there is anything of this name, but a link."""
        with contextlib.suppress(OSError):
            status = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
            return not stat.S_ISLNK(status.st_mode)
        return False

    def read(self, name: str, budget: Budget, max_bytes: int) -> bytes:
        """Return a file's content, whose bytes are drawn on the budget before they are read.

        Raises Damaged or BudgetExceeded.
        """
        path = f"{self.path}/{name}"
        with _translating(path):
            descriptor = os.open(name, _FLAGS, dir_fd=self.descriptor)
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                os.close(descriptor)
                raise Damaged(path, "is not a file")
            with open(descriptor, "rb") as file:
                if status.st_size > max_bytes:
                    raise Damaged(path, f"has {status.st_size} bytes, more than {max_bytes}")
                budget.take_bytes(status.st_size)
                return file.read(status.st_size)

    @contextmanager
    def inside(self, name: str) -> Iterator["Folder"]:
        """Give a folder in this one. Raises Damaged."""
        path = f"{self.path}/{name}"
        with _translating(path):
            descriptor = os.open(name, _FLAGS | os.O_DIRECTORY, dir_fd=self.descriptor)
        try:
            yield Folder(descriptor, path)
        finally:
            os.close(descriptor)


@contextmanager
def opened(top: Path, *parts: str) -> Iterator[Folder]:
    """Give a folder of a saver's directory `top`; none of its parts may be a link.

    Raises Damaged.
    """
    with contextlib.ExitStack() as stack, _translating("/".join(parts)):
        descriptor = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, descriptor)
        for part in parts:
            descriptor = os.open(part, _FLAGS | os.O_DIRECTORY, dir_fd=descriptor)
            stack.callback(os.close, descriptor)
        kept = stack.pop_all()
    with kept:
        yield Folder(descriptor, "/".join(parts))


def copy(
    source: Path, target: Path, budget: Budget, wanted: Callable[[PurePosixPath], bool]
) -> None:
    """Copy the files and folders of `source` that are `wanted` into the empty folder `target`.

    Links and whatever else is no file stay out, and files with more than MAX_FILE_BYTES. Their
    bytes are drawn on the budget before they are copied. Raises BudgetExceeded, and OSError if
    `source` can't be read.
    """
    with closing(tree.walk(source, wanted)) as entries:
        for entry in entries:
            if not wanted(entry.path):
                continue
            budget.take_entry()
            copied = target / entry.path
            if stat.S_ISDIR(entry.status.st_mode):
                copied.mkdir()
            elif stat.S_ISREG(entry.status.st_mode):
                _copy_file(entry, copied, budget)


def _copy_file(entry: tree.Entry, copied: Path, budget: Budget) -> None:
    try:
        descriptor = entry.open()
    except OSError:  # it was removed or replaced meanwhile
        return
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if status.st_size > MAX_FILE_BYTES:
            return
        budget.take_bytes(status.st_size)
        with copied.open("xb") as new:
            left = status.st_size
            while left and (piece := file.read(min(left, 1024 * 1024))):
                new.write(piece)
                left -= len(piece)


@contextmanager
def _translating(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Damaged(path, "is a link, which is not followed") from error
        if error.errno in _NOT_THERE:
            raise Damaged(path, "is missing") from error
        if error.errno in _BROKEN:
            raise Damaged(path, f"can't be read: {error.strerror}") from error
        raise
