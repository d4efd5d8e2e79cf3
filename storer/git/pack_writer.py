"""Writes a pack, with its index, of objects that are given one by one.

The format is git's own: https://git-scm.com/docs/gitformat-pack.
"""

import hashlib
import os
import zlib
from pathlib import Path

from storer.git import packs

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_MODE = 0o444  # as git has them


class PackWriter:
    """The objects of a pack that is not written yet. They are in memory, compressed."""

    def __init__(self) -> None:
        self._objects = bytearray()
        self._places: dict[bytes, tuple[int, int]] = {}

    @property
    def size_bytes(self) -> int:
        """How many bytes are in memory."""
        return len(self._objects)

    def add(self, name: str, kind: str, content: bytes) -> None:
        """Add an object, unless the pack has it already."""
        key = bytes.fromhex(name)
        if key not in self._places:
            packed = packs.packed(kind, content)
            offset = len(packs.header(0)) + len(self._objects)
            self._places[key] = offset, zlib.crc32(packed)
            self._objects += packed

    def write(self, folder: Path) -> None:
        """Write the pack and its index into a folder, without syncing them; begin another one."""
        if not self._places:
            return
        header = packs.header(len(self._places))
        digest = hashlib.sha1(header, usedforsecurity=False)
        digest.update(self._objects)
        trailer = digest.digest()
        stem = f"pack-{trailer.hex()}"
        if not (folder / f"{stem}.idx").exists():  # the same objects, in the same order
            _write(folder / f"{stem}.pack", header, self._objects, trailer)
            # Behind the pack: git looks for the pack of each index.
            _write(folder / f"{stem}.idx", packs.index(self._places, trailer))
        self._objects, self._places = bytearray(), {}


def _write(path: Path, *pieces: bytes | bytearray) -> None:
    with open(os.open(path, _FLAGS, _MODE), "wb") as file:
        file.writelines(pieces)
