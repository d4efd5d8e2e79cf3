"""Katas of which something is noted: each is an empty file, named after the kata, in a volume.

The volume is one of the namespace's own, made with the first note.
"""

import contextlib
import os

from dojo import kata_ids
from dojo.engine.data_containers import DataContainers
from storer.fs import durable


class NotedKatas:
    """The katas that are noted in one volume. Any thread may use them."""

    def __init__(self, containers: DataContainers, volume: str, kind: str) -> None:
        """`kind` is the volume's label."""
        self._containers = containers
        self._volume = volume
        self._kind = kind
        self._folder = containers.volume_root / volume / "_data"

    def has(self, kata_id: str) -> bool:
        """Say whether the kata is noted."""
        return (self._folder / kata_id).exists()

    def ids(self) -> set[str]:
        """Return the ids of all noted katas."""
        try:
            return set(filter(kata_ids.is_whole, os.listdir(self._folder)))
        except FileNotFoundError:  # none was noted yet
            return set()

    def add(self, kata_id: str) -> None:
        """Note a kata durably. Raises DiskFull, EngineUnavailable or OSError."""
        if not self._folder.is_dir():
            self._containers.create_plain_volume(self._volume, self._kind)
        (self._folder / kata_id).touch()
        durable.sync_folder(self._folder)

    def remove(self, kata_id: str) -> None:
        """Remove the note of a kata, if there is one."""
        with contextlib.suppress(FileNotFoundError):
            (self._folder / kata_id).unlink()
