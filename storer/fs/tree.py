"""Walking a tree of files: nothing follows a link, and nothing leaves the tree.

Each name is looked at by way of its folder's descriptor, so that nobody who renames or replaces
folders meanwhile leads the walk elsewhere. What is removed while it walks is left out.
"""

import errno
import os
import shutil
import stat
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath

from dojo import avatars
from dojo.naming import SANDBOX

# A kata is not deeper than this: a visible file's name has at most 255 bytes. What a program
# left deeper than that is not part of the kata.
MAX_DEPTH = 160

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

# What is said of a file that went, or became another kind of file, since its folder was read.
_WENT = {errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.EINVAL, errno.ENOTDIR}


@dataclass(frozen=True, slots=True)
class Found:
    """Something in a tree: its path from the top, and its own status, also of a link.

    `folder` is the descriptor of the folder that it is in, open until the next is found.
    """

    path: PurePosixPath
    status: os.stat_result
    folder: int

    def open(self, flags: int = _FLAGS) -> int:
        """Open the file or folder, if it is no link by now; return the descriptor."""
        return os.open(self.path.name, flags, dir_fd=self.folder)


@dataclass(frozen=True, slots=True)
class Member:
    """A file, folder or link of a kata: its path from the top, and its status.

    Of a file, `descriptor` is open until the next is found, and of a link `target` is where it
    leads.
    """

    path: PurePosixPath
    status: os.stat_result
    descriptor: int = -1
    target: str = ""


def walk(
    top: Path, into: Callable[[PurePosixPath], bool] = lambda _: True
) -> Generator[Found, None, None]:
    """Yield everything under `top`, in the order of names, each folder before what is in it.

    Of folders, only those are entered that `into` says. Holds a descriptor for each level.
    """
    opened: list[tuple[int, PurePosixPath, Iterator[str]]] = []

    def enter(folder: int, at: PurePosixPath) -> None:
        opened.append((folder, at, iter(())))
        opened[-1] = (folder, at, iter(sorted(os.listdir(folder))))

    try:
        enter(os.open(top, _FLAGS | os.O_DIRECTORY), PurePosixPath())
        while opened:
            folder, at, names = opened[-1]
            name = next(names, None)
            if name is None:
                opened.pop()
                os.close(folder)
                continue
            try:
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                found = Found(at / name, status, folder)
                yield found
                if stat.S_ISDIR(status.st_mode) and into(found.path):
                    enter(found.open(_FLAGS | os.O_DIRECTORY), found.path)
            except OSError as error:
                if error.errno not in _WENT:
                    raise
    finally:
        for folder, _, _ in opened:
            os.close(folder)


def members(top: Path) -> Iterator[Member]:
    """Yield what is part of the kata in the folder `top`.

    Left out are stray files, sockets and devices, links anywhere but inside a sandbox, and links
    that lead out of theirs.
    """
    with closing(walk(top, lambda path: not _is_left_out(path))) as entries:
        for found in entries:
            if not _is_left_out(found.path):
                yield from _member(found)


def copy(source: Path, target: Path) -> None:
    """Copy the kata in the folder `source` into the empty folder `target`.

    The source is not changed, its owners and modes are not kept, and what other programs left
    (`._manifest.json`, `f.lock`) is left out.
    """
    for found in members(source):
        status, into = found.status, target / found.path
        if stat.S_ISDIR(status.st_mode):
            into.mkdir()
        elif stat.S_ISLNK(status.st_mode):
            into.symlink_to(found.target)
        else:
            with open(os.dup(found.descriptor), "rb") as old, into.open("xb") as new:
                shutil.copyfileobj(old, new)
            into.chmod(status.st_mode & 0o777 | 0o600)
            os.utime(into, ns=(status.st_mtime_ns, status.st_mtime_ns))


def is_stray(name: str) -> bool:
    """Say whether a file of this name is another program's, and no part of a kata."""
    return name.startswith("._") or name in {".DS_Store", "f.lock"}


def link_stays_inside(path: PurePosixPath, target: str) -> bool:
    """Say whether the link at `path` (from the kata's folder) leads to its own sandbox."""
    parts = path.parts
    if len(parts) < 3 or not avatars.is_name(parts[0]) or parts[1] != SANDBOX:
        return False
    if not target or target.startswith("/"):
        return False
    steps = PurePosixPath(target).parts
    ups = list(takewhile(lambda step: step == "..", steps))
    # Further on, `..` can lead out by way of another link: from `here/..` where `here` is `.`.
    return len(ups) <= len(parts) - 3 and ".." not in steps[len(ups) :]


def _is_left_out(path: PurePosixPath) -> bool:
    """Say whether what is at a path, and under it, is no part of a kata by its name or depth."""
    # Names with a dot at the top are what is being made and not whole yet.
    is_unfinished = len(path.parts) == 1 and path.name.startswith(".")
    return is_unfinished or is_stray(path.name) or len(path.parts) > MAX_DEPTH


def _member(found: Found) -> Iterator[Member]:
    kind = stat.S_IFMT(found.status.st_mode)
    if kind == stat.S_IFDIR:
        yield Member(found.path, found.status)
        return
    if kind == stat.S_IFLNK:
        try:
            target = os.readlink(found.path.name, dir_fd=found.folder)
        except OSError as error:
            if error.errno not in _WENT:
                raise
            return
        if link_stays_inside(found.path, target):
            yield Member(found.path, found.status, target=target)
        return
    if kind != stat.S_IFREG:
        return
    try:
        descriptor = found.open()
    except OSError as error:
        if error.errno not in _WENT:
            raise
        return
    try:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            yield Member(found.path, status, descriptor)
    finally:
        os.close(descriptor)
