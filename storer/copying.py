"""Copying a kata's folder: files, folders, and links that stay inside a sandbox."""

import os
import posixpath
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from dojo import avatars
from storer.sandbox import SANDBOX

# A kata is not deeper than this: a visible file's name has at most 255 bytes. What a program
# left deeper than that is not part of the kata.
MAX_DEPTH = 160

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def copy(source: Path, target: Path) -> None:
    """Copy the kata in the folder `source` into the empty folder `target`.

    The source is not changed, its owners and modes are not kept, and what other programs left
    (`._manifest.json`, `f.lock`) is left out.
    """
    for path, status, descriptor in walk(source):
        into = target / path
        if stat.S_ISDIR(status.st_mode):
            into.mkdir()
        elif stat.S_ISLNK(status.st_mode):
            into.symlink_to((source / path).readlink())
        else:
            with open(os.dup(descriptor), "rb") as old, into.open("xb") as new:
                shutil.copyfileobj(old, new)
            into.chmod(status.st_mode & 0o777 | 0o600)
            os.utime(into, ns=(status.st_mtime_ns, status.st_mtime_ns))


def walk(top: Path) -> Iterator[tuple[PurePosixPath, os.stat_result, int]]:
    """Yield what is under `top`: the path from there, its status, and an open descriptor.

    In the order of names, each folder before what is in it. Never leaves `top`, whatever
    links are made while it walks. A descriptor is open until the next is yielded; a link has
    none (-1). Left out is what is no part of a kata: stray files, sockets and devices, links
    anywhere but inside a sandbox, and links that lead out of theirs.
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
    led_to = posixpath.normpath(posixpath.join(*parts[:-1], target))
    return PurePosixPath(led_to).is_relative_to(PurePosixPath(*parts[:2]))


def _walk(folder: int, at: PurePosixPath) -> Iterator[tuple[PurePosixPath, os.stat_result, int]]:
    for name in sorted(os.listdir(folder)):
        path = at / name
        # Names with a dot at the top are what is being made and not whole yet.
        if is_stray(name) or (not at.parts and name.startswith(".")):
            continue
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            if link_stays_inside(path, os.readlink(name, dir_fd=folder)):
                yield path, status, -1
        elif (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)) and (
            len(path.parts) <= MAX_DEPTH
        ):
            yield from _open(folder, name, path, status)


def _open(
    folder: int, name: str, path: PurePosixPath, status: os.stat_result
) -> Iterator[tuple[PurePosixPath, os.stat_result, int]]:
    try:
        descriptor = os.open(name, _FLAGS, dir_fd=folder)
    except OSError:  # it went, or became a link or a socket, since it was looked at
        return
    try:
        opened = os.fstat(descriptor)
        if stat.S_IFMT(opened.st_mode) != stat.S_IFMT(status.st_mode):
            return
        yield path, opened, descriptor
        if stat.S_ISDIR(opened.st_mode):
            yield from _walk(descriptor, path)
    finally:
        os.close(descriptor)
