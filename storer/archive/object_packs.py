"""Puts the git objects of a kata's copies into packs, one for each avatar.

A light adds half a dozen objects, and a copy has a file for each. To create these files takes most
of the time that a kata takes to come back.
"""

import re
from pathlib import Path

from storer.git import loose_objects
from storer.git.pack_writer import PackWriter
from storer.kata.history import GIT

_OBJECT = re.compile(rf"([a-z]+)/{re.escape(GIT)}/objects/([0-9a-f]{{2}})/([0-9a-f]{{38}})")
_PACKS = f"{GIT}/objects/pack"

# What is larger, is written as it comes. A light's objects have a few KB.
MAX_COMPRESSED_BYTES = 64 * 1024
_MAX_BYTES = 1024 * 1024

# Of all avatars. A kata has mostly less, and gets one pack for each avatar.
_MAX_HELD_BYTES = 32 * 1024 * 1024


class ObjectPacks:
    """Packs the objects of one kata that nobody sees yet. Belongs to one thread."""

    def __init__(self, folder: Path) -> None:
        """Write into the avatars in the kata's `folder`."""
        self._folder = folder
        self._writers: dict[str, PackWriter] = {}

    def wants(self, path: str, size: int) -> bool:
        """Say whether a file of the kata may go into a pack, by its path and size."""
        return size <= MAX_COMPRESSED_BYTES and _OBJECT.fullmatch(path) is not None

    def take(self, path: str, compressed: bytes) -> bool:
        """Take the content of a file that is wanted; return False if it has to stay a file.

        A damaged object has to: whoever verifies the kata finds it.
        """
        match = _OBJECT.fullmatch(path)
        if match is None:
            return False
        name = match[2] + match[3]
        try:
            kind, content = loose_objects.parse(compressed, name, _MAX_BYTES)
        except ValueError:
            return False
        self._writers.setdefault(match[1], PackWriter()).add(name, kind, content)
        if sum(each.size_bytes for each in self._writers.values()) > _MAX_HELD_BYTES:
            self.write()
        return True

    def write(self) -> None:
        """Write what was taken. Nothing is synced."""
        for avatar, writer in self._writers.items():
            folder = self._folder / avatar / _PACKS
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            writer.write(folder)
