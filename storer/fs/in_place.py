"""Rewrites small files that change with every light, without creating or removing a file.

Creating a file takes ext4 ten times as long where files were removed a moment ago: ext4 scans their
inodes first (`recently_deleted` in fs/ext4/ialloc.c of Linux). Replacing two files for each light,
as is usual, would slow down every file that the next light creates.

Nothing is synced here. Use these functions only for files that git can restore after a crash. The
caller holds the lock on the files' folder.
"""

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from storer.fs import durable

# A snapshot copies the content of files up to this size, and keeps larger ones open. So a larger
# file has to be replaced: rewritten in place, it would change under the snapshot.
_SMALL_BYTES = 16 * 1024

# How much of a JSON list, at its end, an append changes at most.
_END_BYTES = 64

_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


def spare_of(path: Path) -> Path:
    """Return the spare of the file at `path`: `swap` writes the spare and swaps the names."""
    return path.with_name(f".{path.name}.spare")


def swap(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Replace the file at `path`, reusing the file that was there before the last swap.

    Content that is large can come in pieces.

    A reader that opens the file finds the old or the new content, whole. A reader that has the file
    open sees the content change only at the swap after this one.
    """
    spare = str(spare_of(path))
    if not isinstance(content, bytes) or len(content) > _SMALL_BYTES:
        durable.replace(path, content, sync=False)
        return
    descriptor = _open_spare(spare)
    try:
        status = os.fstat(descriptor)
        if not _has_one_name(status):
            durable.replace(path, content, sync=False)
            return
        durable.write_all(descriptor, content)
        if status.st_size > len(content):
            os.ftruncate(descriptor, len(content))
    finally:
        os.close(descriptor)
    if not durable.exchange(spare, str(path)):
        os.replace(spare, path)  # noqa: PTH105 - Path.replace takes three times as long
    elif os.stat(spare).st_size > _SMALL_BYTES:  # noqa: PTH116 - as above
        # A snapshot may have the large file open; as a spare, the file would be overwritten.
        os.unlink(spare)  # noqa: PTH108 - as above


def drop_spare(path: Path) -> None:
    """Have the next `swap` of the file at `path` write a new file.

    Where the disk failed to write a file, ext4 takes its blocks for zeros even if they are written
    again later.
    """
    spare_of(path).unlink(missing_ok=True)


def _open_spare(spare: str) -> int:
    """Open the spare, or a new one if a killed `swap` left a large one behind."""
    descriptor = os.open(spare, _FLAGS | os.O_CREAT, durable.PRIVATE)
    if os.fstat(descriptor).st_size <= _SMALL_BYTES:
        return descriptor
    os.close(descriptor)
    os.unlink(spare)  # noqa: PTH108 - Path.unlink takes three times as long
    return os.open(spare, _FLAGS | os.O_CREAT | os.O_EXCL, durable.PRIVATE)


def extend(path: Path, elements: bytes) -> bool:
    """Append `elements`, JSON with commas between them, to the list in the file at `path`.

    A reader at this very moment may find the file without its end. Return False, having changed
    nothing, if the file does not end as a list does or has another name too.
    """
    descriptor = os.open(path, _FLAGS)
    try:
        status = os.fstat(descriptor)
        end = os.pread(descriptor, _END_BYTES, max(0, status.st_size - _END_BYTES))
        kept = end.rstrip()
        if not kept.endswith(b"]") or not _has_one_name(status):
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
    """Return how many bytes `swap` may change in place, at the end of a file of `size` bytes."""
    return size if size <= _SMALL_BYTES else 0


def extended_bytes(size: int) -> int:
    """Return how many bytes `extend` may change in place, at the end of a file of `size` bytes."""
    return min(size, _END_BYTES)


def _has_one_name(status: os.stat_result) -> bool:
    """Return whether this is a file without another name, through which the write would show."""
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1
