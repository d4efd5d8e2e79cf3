"""Safe access to folders that a hostile program wrote: walking, reading and removing.

Each step is relative to the descriptor of a folder, and follows no symbolic link: no link leads
out of the sandbox. It opens folders and regular files only: opening a FIFO would wait for its
other end.
"""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass

# A visible file's name has at most 255 bytes, so no visible file is deeper than this. A walk holds
# a descriptor for each level, so folders without this limit could use up our descriptors.
MAX_DEPTH = 128

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

# The errors of opening something that is of another type than expected, or gone.
_UNEXPECTED = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO}


@dataclass(frozen=True, slots=True)
class Entry:
    """What a walk found. The path is relative to the folder where the walk began."""

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
    """Open the folder `name` in the folder `parent`; close the descriptor afterwards.

    Raises OSError (ENOTDIR, ELOOP, ENOENT) if `name` is not a real folder.
    """
    descriptor = os.open(name, _FOLDER, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def opened_parent(path: str, top: int) -> Iterator[tuple[int, str] | None]:
    """Open the folder that contains `path`, below `top`; give its descriptor and the last name.

    Gives None if the folder does not exist, or is something else than a folder.
    """
    *folders, name = path.split("/")
    with contextlib.ExitStack() as stack:
        parent = top
        try:
            for folder in folders:
                inner = stack.enter_context(opened(folder, parent))
                parent = inner
        except OSError as error:
            if error.errno not in _UNEXPECTED:
                raise
            yield None
            return
        yield parent, name


def status(name: str, parent: int) -> os.stat_result | None:
    """Return the status of `name` in the folder `parent`; None if it does not exist."""
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def read(name: str, parent: int, limit_bytes: int) -> bytes | None:
    """Return the first `limit_bytes` of a regular file; None if it is not a regular file."""
    found = status(name, parent)
    if found is None or not stat.S_ISREG(found.st_mode):
        return None
    try:
        descriptor = os.open(name, _FILE, dir_fd=parent)
    except OSError as error:
        if error.errno in _UNEXPECTED:
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


def listed(folder: int, prefix: str = "") -> Iterator[Entry]:
    """Yield everything in `folder`, without what is removed meanwhile."""
    with os.scandir(folder) as found:
        for each in found:
            try:
                entry = Entry(prefix + each.name, each.stat(follow_symlinks=False))
            except FileNotFoundError:
                continue
            yield entry


def walk(folder: int, prefix: str = "", depth: int = 1) -> Iterator[Entry]:
    """Yield everything below `folder`, each folder before its content.

    Skips what is removed during the walk. Yields folders at MAX_DEPTH, but does not enter them.
    """
    inner: list[Entry] = []
    for entry in listed(folder, prefix):
        yield entry
        if entry.is_folder and depth < MAX_DEPTH:
            inner.append(entry)
    for entry in inner:
        try:
            with opened(entry.path[len(prefix) :], folder) as descriptor:
                yield from walk(descriptor, entry.path + "/", depth + 1)
        except OSError as error:
            if error.errno not in _UNEXPECTED:
                raise


def is_too_deep(path: str) -> bool:
    """Say whether a walk does not enter the folder of this path."""
    return path.count("/") + 1 >= MAX_DEPTH


class TreeRemover:
    """Removes whole trees, however deep, with two open descriptors at most.

    Moves a tree to a folder of its own beside the sandbox first, out of reach of runs. There it
    moves the folders to the top, one by one.
    """

    NAME = ".removed"

    def __init__(self, outside: int) -> None:
        """`outside` is a folder on the same file system that no participant can write."""
        self._outside = outside

    def remove(self, name: str, parent: int) -> None:
        """Remove `name` from the folder `parent`, whatever it is, if it exists."""
        found = status(name, parent)
        if found is None:
            return
        if not stat.S_ISDIR(found.st_mode):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=parent)
            return
        try:
            os.mkdir(self.NAME, 0o700, dir_fd=self._outside)
        except FileExistsError:
            self._remove_in_the_way()
            with contextlib.suppress(FileExistsError):
                os.mkdir(self.NAME, 0o700, dir_fd=self._outside)
        with opened(self.NAME, self._outside) as removed:
            os.rename(name, secrets.token_hex(8), src_dir_fd=parent, dst_dir_fd=removed)
        self.finish()

    def finish(self) -> None:
        """Remove what was moved away, also by a process that was killed before it removed it."""
        try:
            with opened(self.NAME, self._outside) as removed:
                _remove_folders(removed)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in _UNEXPECTED:
                raise
            self._remove_in_the_way()
            return
        os.rmdir(self.NAME, dir_fd=self._outside)

    def _remove_in_the_way(self) -> None:
        """Remove what has the name of our folder and is none: a restored kata can have that."""
        found = status(self.NAME, self._outside)
        if found is not None and not stat.S_ISDIR(found.st_mode):
            os.unlink(self.NAME, dir_fd=self._outside)


def _remove_folders(removed: int) -> None:
    pending = os.listdir(removed)
    while pending:
        name = pending.pop()
        try:
            with opened(name, removed) as folder, os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(secrets.token_hex(8))
                        os.rename(entry.name, pending[-1], src_dir_fd=folder, dst_dir_fd=removed)
                    else:
                        os.unlink(entry.name, dir_fd=folder)
        except OSError as error:  # no folder: a restored kata can have that
            if error.errno not in _UNEXPECTED:
                raise
            os.unlink(name, dir_fd=removed)
        else:
            os.rmdir(name, dir_fd=removed)
