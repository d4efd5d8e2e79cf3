"""Small files that change with every light, rewritten without making or removing a file.

To make a file costs ext4 ten times as much where files were removed a moment ago: it looks
through these first (`recently_deleted` in fs/ext4/ialloc.c of Linux). To replace two files for
each light, as is usual, makes all others slow that a light needs.

Nothing is synced here. For files that can be made again from git, if a crash takes them, and for
the holder of the lock on their folder.
"""

import errno
import os
import stat
from pathlib import Path

from storer.fs import durable

# A larger file is replaced: who reads it as of a moment has it open, and keeps of smaller ones
# the content.
_SMALL_BYTES = 16 * 1024

# Of a JSON list as we write it: no more of it changes when something is added.
_END_BYTES = 64

_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


def spare_of(path: Path) -> Path:
    """Return the file that takes the place of `path` the next time."""
    return path.with_name(f".{path.name}.spare")


def swap(path: Path, content: bytes) -> None:
    """Replace the file at `path` by the one that was there the time before.

    Who opens it finds the old or the new content, whole. What has it open sees it change only
    when it is replaced once more.
    """
    spare = str(spare_of(path))
    if len(content) > _SMALL_BYTES:
        durable.replace(path, content, sync=False)
        return
    descriptor = _opened_spare(spare)
    try:
        status = os.fstat(descriptor)
        if not _is_ours_alone(status):
            durable.replace(path, content, sync=False)
            return
        durable.write_all(descriptor, content)
        if status.st_size > len(content):
            os.ftruncate(descriptor, len(content))
    finally:
        os.close(descriptor)
    if not durable.exchange(spare, str(path)):
        os.replace(spare, path)  # noqa: PTH105 - a path's own takes thrice as long
    elif os.stat(spare).st_size > _SMALL_BYTES:  # noqa: PTH116 - as above
        os.unlink(spare)  # noqa: PTH108 - as above; somebody may be reading it


def _opened_spare(spare: str) -> int:
    """Open the spare; a new one if it is large, which `swap` removes unless it is killed."""
    descriptor = os.open(spare, _FLAGS | os.O_CREAT, durable.PRIVATE)
    if os.fstat(descriptor).st_size <= _SMALL_BYTES:
        return descriptor
    os.close(descriptor)
    os.unlink(spare)  # noqa: PTH108 - a path's own takes thrice as long
    return os.open(spare, _FLAGS | os.O_CREAT | os.O_EXCL, durable.PRIVATE)


def extend(path: Path, elements: bytes) -> bool:
    """Add elements, as JSON with commas between them, to the list in the file at `path`.

    Who reads the file at this moment may find it without its end. False, and nothing is done, if
    the file does not end as a list.
    """
    descriptor = os.open(path, _FLAGS)
    try:
        status = os.fstat(descriptor)
        end = os.pread(descriptor, _END_BYTES, max(0, status.st_size - _END_BYTES))
        kept = end.rstrip()
        if not kept.endswith(b"]") or not _is_ours_alone(status):
            return False
        kept = kept[:-1].rstrip()
        if not kept:
            return False
        at = status.st_size - len(end) + len(kept)
        new = (b"" if kept.endswith(b"[") else b",\n") + elements + b"]\n"
        try:
            if os.pwrite(descriptor, new, at) != len(new):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        except BaseException:
            os.pwrite(descriptor, end[len(kept) :], at)
            os.ftruncate(descriptor, status.st_size)
            raise
    finally:
        os.close(descriptor)
    return True


def swapped_bytes(size: int) -> int:
    """Return how much, at the end of a file of so many bytes, `swap` may change in place."""
    return size if size <= _SMALL_BYTES else 0


def extended_bytes(size: int) -> int:
    """Return how much, at the end of a file of so many bytes, `extend` may change in place."""
    return min(size, _END_BYTES)


def _is_ours_alone(status: os.stat_result) -> bool:
    """Say whether it is a file that has no other name."""
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1
