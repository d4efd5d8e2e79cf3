"""Folders that a hostile program wrote: walked, read and removed without following it anywhere.

Every step is relative to a descriptor of a folder, never follows a symbolic link, and opens
nothing but folders and regular files (opening a FIFO would wait for its other end).
"""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass

# A visible file's name has at most 255 bytes, so no visible file is deeper than this. What is
# deeper could be made to use up our descriptors: one is open for each level.
MAX_DEPTH = 128

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

# What opening answers when something else than expected is there, or nothing any more.
_NOT_THAT = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO}


@dataclass(frozen=True, slots=True)
class Entry:
    """What a walk found: its path from where the walk began, and what it is."""

    path: str
    stat: os.stat_result

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.stat.st_mode)

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.stat.st_mode)


@contextlib.contextmanager
def opened(name: str | os.PathLike[str], parent: int | None = None) -> Iterator[int]:
    """Open the folder `name` in the folder `parent`; the descriptor is closed afterwards.

    Raises OSError (ENOTDIR, ELOOP, ENOENT) if `name` is not a real folder.
    """
    descriptor = os.open(name, _FOLDER, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def opened_parent(path: str, top: int) -> Iterator[tuple[int, str] | None]:
    """Open the folder that `path` is in, below `top`; give its descriptor and the last name.

    Gives None if there is no such folder, or something else in its place.
    """
    *folders, name = path.split("/")
    with contextlib.ExitStack() as stack:
        parent = top
        try:
            for folder in folders:
                inner = stack.enter_context(opened(folder, parent))
                parent = inner
        except OSError as error:
            if error.errno not in _NOT_THAT:
                raise
            yield None
            return
        yield parent, name


def status(name: str, parent: int) -> os.stat_result | None:
    """Return what `name` in the folder `parent` is; None if there is nothing."""
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def read(name: str, parent: int, limit_bytes: int) -> bytes | None:
    """Return the first `limit_bytes` of a regular file; None if there is no such file."""
    found = status(name, parent)
    if found is None or not stat.S_ISREG(found.st_mode):
        return None
    try:
        descriptor = os.open(name, _FILE, dir_fd=parent)
    except OSError as error:
        if error.errno in _NOT_THAT:
            return None
        raise
    with open(descriptor, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        pieces = []
        while limit_bytes > 0 and (piece := file.read(limit_bytes)):
            pieces.append(piece)
            limit_bytes -= len(piece)
        return b"".join(pieces)


def walk(folder: int, prefix: str = "", depth: int = 1) -> Iterator[Entry]:
    """Yield everything below `folder`, each folder before what it holds.

    What goes away meanwhile is left out. Folders at MAX_DEPTH are yielded but not entered.
    """
    inner: list[Entry] = []
    with os.scandir(folder) as found:
        for each in found:
            try:
                entry = Entry(prefix + each.name, each.stat(follow_symlinks=False))
            except FileNotFoundError:
                continue
            yield entry
            if entry.is_folder and depth < MAX_DEPTH:
                inner.append(entry)
    for entry in inner:
        try:
            with opened(entry.path[len(prefix) :], folder) as descriptor:
                yield from walk(descriptor, entry.path + "/", depth + 1)
        except OSError as error:
            if error.errno not in _NOT_THAT:
                raise


def is_too_deep(path: str) -> bool:
    """Say whether a walk does not enter the folder of this path."""
    return path.count("/") + 1 >= MAX_DEPTH


class Removal:
    """Removes whole trees, however deep, holding two descriptors at most.

    A tree is first moved to a folder of its own beside the sandbox, which takes it out of
    reach at once; there its folders are moved to the top one by one.
    """

    NAME = ".removed"

    def __init__(self, outside: int) -> None:
        """`outside` is a folder on the same file system that no participant can write."""
        self._outside = outside

    def remove(self, name: str, parent: int) -> None:
        """Remove `name` from the folder `parent`, whatever it is; nothing there is fine."""
        found = status(name, parent)
        if found is None:
            return
        if not stat.S_ISDIR(found.st_mode):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=parent)
            return
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.NAME, 0o700, dir_fd=self._outside)
        with opened(self.NAME, self._outside) as removed:
            os.rename(name, secrets.token_hex(8), src_dir_fd=parent, dst_dir_fd=removed)
        self.finish()

    def finish(self) -> None:
        """Remove what was moved away, also by a process that was killed before it was done."""
        try:
            with opened(self.NAME, self._outside) as removed:
                _remove_folders(removed)
        except FileNotFoundError:
            return
        os.rmdir(self.NAME, dir_fd=self._outside)


def _remove_folders(removed: int) -> None:
    pending = os.listdir(removed)
    while pending:
        name = pending.pop()
        with opened(name, removed) as folder, os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(secrets.token_hex(8))
                    os.rename(entry.name, pending[-1], src_dir_fd=folder, dst_dir_fd=removed)
                else:
                    os.unlink(entry.name, dir_fd=folder)
        os.rmdir(name, dir_fd=removed)
