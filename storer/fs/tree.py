"""Walks a file tree without following a link or leaving the tree.

Each name is opened relative to its folder's descriptor, so that another process that renames or
replaces folders can't lead the walk elsewhere. Files that are removed during the walk are left out.
"""

import errno
import heapq
import os
import stat
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path, PurePosixPath

from dojo import avatars, waits
from dojo.naming import SANDBOX
from storer.fs import holes

# A visible file is never deeper than this: its name has at most 255 bytes. Deeper files, which only
# a program can leave, are no part of the kata.
MAX_DEPTH = 160

_BLOCK_BYTES = 512  # of st_blocks, whatever the disk's own are: stat(2)
# How large a folder is whose names are all held, to be sorted: on ext4 it has up to 87,000. And how
# many names of a larger one are held at a time.
_SMALL_FOLDER_BYTES = 1024**2
_HELD_NAMES = 100_000

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

# The errors for a file that was removed, or became another kind of file, after its folder was read.
_VANISHED = {errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.EINVAL, errno.ENOTDIR}


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, folder, link or anything else in a tree: its path from the top, and its lstat.

    `folder` is the descriptor of the folder around it, open until the next entry is yielded.
    """

    path: PurePosixPath
    status: os.stat_result
    folder: int

    def open(self, flags: int = _FLAGS) -> int:
        """Open the file or folder, unless it became a link; return the descriptor."""
        return os.open(self.path.name, flags, dir_fd=self.folder)


@dataclass(frozen=True, slots=True)
class Member:
    """A file, folder or link of a kata: its path from the top, and its status.

    `descriptor` is a file's, open until the next member is yielded. `target` is a link's.
    """

    path: PurePosixPath
    status: os.stat_result
    descriptor: int = -1
    target: str = ""


def disk_bytes(top: Path) -> int:
    """Return how many bytes of its disk a tree takes, as du(1) counts them."""
    with closing(walk(top)) as entries:
        return sum(each.status.st_blocks * _BLOCK_BYTES for each in entries)


def walk(
    top: Path, should_enter: Callable[[PurePosixPath], bool] = lambda _: True
) -> Generator[Entry, None, None]:
    """Yield every entry under `top`, in the order of names, each folder before its content.

    Only folders for which `should_enter` returns True are entered. The walk holds one descriptor
    for each level. Raises CallEnded if this thread works for a call that has ended.
    """
    opened: list[tuple[int, PurePosixPath, Iterator[str]]] = []

    def enter(folder: int, at: PurePosixPath) -> None:
        opened.append((folder, at, iter(())))
        opened[-1] = (folder, at, _names(folder))

    try:
        enter(os.open(top, _FLAGS | os.O_DIRECTORY), PurePosixPath())
        while opened:
            waits.check()
            folder, at, names = opened[-1]
            name = next(names, None)
            if name is None:
                opened.pop()
                os.close(folder)
                continue
            try:
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                entry = Entry(at / name, status, folder)
                yield entry
                if stat.S_ISDIR(status.st_mode) and should_enter(entry.path):
                    enter(entry.open(_FLAGS | os.O_DIRECTORY), entry.path)
            except OSError as error:
                if error.errno not in _VANISHED:
                    raise
    finally:
        for folder, _, _ in opened:
            os.close(folder)


def _names(folder: int) -> Iterator[str]:
    """Return the names in a folder, in order."""
    if os.fstat(folder).st_size <= _SMALL_FOLDER_BYTES:
        return iter(sorted(os.listdir(folder)))
    return _many_names(folder)


def _many_names(folder: int) -> Iterator[str]:
    """Yield the names in a folder, in order. Reads the folder once for each _HELD_NAMES of them."""
    after = ""
    while names := heapq.nsmallest(_HELD_NAMES, _names_after(folder, after)):
        yield from names
        after = names[-1]


def _names_after(folder: int, after: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            waits.check()
            if entry.name > after:
                yield entry.name


def members(top: Path, inside: PurePosixPath | None = None) -> Generator[Member, None, None]:
    """Yield the members of the kata in the folder `top`, or those inside one folder of it.

    Sockets, pipes and devices are left out. So are, outside of the sandboxes, links and stray
    files: a program may make any link or name in its own sandbox.
    """
    at = PurePosixPath() if inside is None else inside
    with closing(walk(top / at, lambda path: not _is_excluded(at / path))) as entries:
        for entry in entries:
            found = entry if inside is None else replace(entry, path=at / entry.path)
            if not _is_excluded(found.path):
                yield from _member(found)


def copy(source: Path, target: Path) -> None:
    """Copy the kata in the folder `source` into the empty folder `target`.

    Owners and the modes of folders are not copied. Stray files of other programs
    (`._manifest.json`, `f.lock`) are left out, in sandboxes too. The source is not changed.
    """
    for member in members(source):
        if any(map(is_stray, member.path.parts)):
            continue
        status, copied = member.status, target / member.path
        if stat.S_ISDIR(status.st_mode):
            copied.mkdir()
            copied.chmod(0o755)
        elif stat.S_ISLNK(status.st_mode):
            copied.symlink_to(member.target)
        else:
            with copied.open("xb") as new:
                holes.copy(member.descriptor, status, new)
            copied.chmod(status.st_mode & 0o777 | 0o600)
            os.utime(copied, ns=(status.st_mtime_ns, status.st_mtime_ns))


def is_stray(name: str) -> bool:
    """Return whether another program leaves files of this name: they are no part of a kata."""
    return name.startswith("._") or name in {".DS_Store", "f.lock"}


def is_in_sandbox(path: PurePosixPath) -> bool:
    """Return whether a path, from the kata's folder, is inside of an avatar's sandbox."""
    parts = path.parts
    return len(parts) > 2 and parts[1] == SANDBOX and avatars.is_name(parts[0])


def link_stays_inside(path: PurePosixPath, target: str) -> bool:
    """Return whether the link at `path`, from the kata's folder, leads into its own sandbox."""
    parts = path.parts
    if not is_in_sandbox(path) or not target or target.startswith("/"):
        return False
    steps = PurePosixPath(target).parts
    ups = list(takewhile(lambda step: step == "..", steps))
    # A later `..` can lead out through another link: `here/..` does, where `here` leads to `.`.
    return len(ups) <= len(parts) - 3 and ".." not in steps[len(ups) :]


def _is_excluded(path: PurePosixPath) -> bool:
    """Return whether the name or depth of a path excludes it, and all below, from the kata."""
    # At the top, names with a leading dot belong to work in progress.
    is_unfinished = len(path.parts) == 1 and path.name.startswith(".")
    is_foreign = is_stray(path.name) and not is_in_sandbox(path)
    return is_unfinished or is_foreign or len(path.parts) > MAX_DEPTH


def _member(entry: Entry) -> Iterator[Member]:
    """Yield the member that an entry is, if it is one."""
    kind = stat.S_IFMT(entry.status.st_mode)
    if kind == stat.S_IFDIR:
        yield Member(entry.path, entry.status)
        return
    if kind == stat.S_IFLNK:
        try:
            target = os.readlink(entry.path.name, dir_fd=entry.folder)
        except OSError as error:
            if error.errno not in _VANISHED:
                raise
            return
        if is_in_sandbox(entry.path):
            yield Member(entry.path, entry.status, target=target)
        return
    if kind != stat.S_IFREG:
        return
    try:
        descriptor = entry.open()
    except OSError as error:
        if error.errno not in _VANISHED:
            raise
        return
    try:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            yield Member(entry.path, status, descriptor)
    finally:
        os.close(descriptor)
