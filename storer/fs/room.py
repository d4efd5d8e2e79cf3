"""Keeps some of a disk free while katas that come in are written: other calls need it to record.

All that are written at the same time are bounded together, as each looks at what the disk has left.
"""

from pathlib import Path
from typing import IO

from dojo import free_space, limits
from dojo.errors import DiskFull

_CHECK_BYTES = 4 * 1024 * 1024
_ENTRY_BYTES = 4096  # what a file or folder takes at least


class Room:
    """The room on the disk of one kata that comes in."""

    def __init__(self) -> None:
        self._unchecked_bytes = 0
        self._allowed_bytes = 0  # until the disk is looked at again

    def take(self, folder: Path, size: int = _ENTRY_BYTES) -> None:
        """Take bytes of the disk that `folder` is on; raise DiskFull if too few are left."""
        self._unchecked_bytes += size
        if self._unchecked_bytes < self._allowed_bytes:
            return
        share = free_space.size_bytes(folder) * limits.FREE_DISK_PERCENT // 100
        kept = min(limits.FREE_DISK_BYTES, share)
        if free_space.free_bytes(folder) < kept:
            raise DiskFull(f"its last {kept} bytes are for other calls than restores")
        self._unchecked_bytes = 0
        self._allowed_bytes = min(_CHECK_BYTES, kept // 4)


class RoomyFile:
    """A new file that takes what is written to it from a room."""

    def __init__(self, file: IO[bytes], folder: Path, room: Room) -> None:
        self._file = file
        self._folder = folder
        self._room = room
        self.seek = file.seek
        self.truncate = file.truncate

    def write(self, content: bytes) -> None:
        """Write at the current place; raise DiskFull if that leaves too little room."""
        self._room.take(self._folder, len(content))
        self._file.write(content)
