"""Copying a kata's folder: files, folders, and links that stay inside a sandbox."""

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath

from dojo import avatars
from dojo.naming import SANDBOX

# A kata is not deeper than this: a visible file's name has at most 255 bytes. What a program
# left deeper than that is not part of the kata.
MAX_DEPTH = 160

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

# What is said of a file that went, or became a link, a socket or no link, since it was seen.
_WENT = {errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.EINVAL}


@dataclass(frozen=True, slots=True)
class Found:
    """A file, folder or link: its path from the top, and its status when it was found.

    `descriptor` is open until the next is found; a link has none (-1), and a `target` instead.
    """

    path: PurePosixPath
    status: os.stat_result
    descriptor: int
    target: str = ""


def copy(source: Path, target: Path) -> None:
    """Copy the kata in the folder `source` into the empty folder `target`.

    The source is not changed, its owners and modes are not kept, and what other programs left
    (`._manifest.json`, `f.lock`) is left out.
    """
    for found in walk(source):
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


def walk(top: Path) -> Iterator[Found]:
    """Yield what is under `top`.

    In the order of names, each folder before what is in it. Never leaves `top`, whatever
    links are made while it walks. Left out is what is no part of a kata (stray files, sockets
    and devices, links anywhere but inside a sandbox, and links that lead out of theirs), and
    what is removed while it walks.
    """
    folder = os.open(top, _FLAGS | os.O_DIRECTORY)
    try:
        yield from _walk(folder, PurePosixPath())
    finally:
        os.close(folder)


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


def _walk(folder: int, at: PurePosixPath) -> Iterator[Found]:
    for name in sorted(os.listdir(folder)):
        path = at / name
        # Names with a dot at the top are what is being made and not whole yet.
        if is_stray(name) or (not at.parts and name.startswith(".")):
            continue
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            target = os.readlink(name, dir_fd=folder) if stat.S_ISLNK(status.st_mode) else ""
        except OSError as error:
            if error.errno in _WENT:
                continue
            raise
        if stat.S_ISLNK(status.st_mode):
            if link_stays_inside(path, target):
                yield Found(path, status, -1, target)
        elif (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)) and (
            len(path.parts) <= MAX_DEPTH
        ):
            yield from _open(folder, name, path, status)


def _open(folder: int, name: str, path: PurePosixPath, status: os.stat_result) -> Iterator[Found]:
    try:
        descriptor = os.open(name, _FLAGS, dir_fd=folder)
    except OSError as error:
        if error.errno in _WENT:
            return
        raise
    try:
        opened = os.fstat(descriptor)
        if stat.S_IFMT(opened.st_mode) != stat.S_IFMT(status.st_mode):
            return
        yield Found(path, opened, descriptor)
        if stat.S_ISDIR(opened.st_mode):
            yield from _walk(descriptor, path)
    finally:
        os.close(descriptor)
