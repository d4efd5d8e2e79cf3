"""Files with holes: what is on disk between the holes, so that nobody reads or writes a hole."""

import errno
import os
from typing import IO

from dojo import limits

_BLOCK_BYTES = 512  # the unit of st_blocks, whatever the size of the file system's own blocks
_PIECE_BYTES = 256 * 1024


def extents(descriptor: int, status: os.stat_result) -> list[tuple[int, int]] | None:
    """Return the place and size of each piece of data, in order; None for a file without holes.

    A file with more holes than MAX_EXTENTS allows has data behind the last of those.
    """
    size = status.st_size
    if status.st_blocks * _BLOCK_BYTES >= size:
        return None
    found: list[tuple[int, int]] = []
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
            end = min(os.lseek(descriptor, start, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no data behind this
                break
            if error.errno == errno.EINVAL:  # the file system does not know holes
                return None
            raise
        # One more is needed where a hole ends the file.
        if len(found) == limits.MAX_EXTENTS - 2:
            end = size
        if start < end:
            found.append((start, end - start))
    return None if found == [(0, size)] else found


def copy(source: int, status: os.stat_result, target: IO[bytes]) -> None:
    """Copy a file into a new one; holes stay holes."""
    pieces = extents(source, status)
    for start, size in [(0, status.st_size)] if pieces is None else pieces:
        target.seek(start)
        at, end = start, start + size
        while at < end and (piece := os.pread(source, min(_PIECE_BYTES, end - at), at)):
            target.write(piece)
            at += len(piece)
    target.truncate(status.st_size)
