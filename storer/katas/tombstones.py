"""Tombstones: deleted katas that the katas directory still has, and that have to stay away.

Each is an empty file, named after the kata, in a volume of the namespace. Losing the files brings
those katas back and costs nothing else.
"""

import contextlib
import os

from dojo.engine.data_containers import DataContainers
from storer.fs import durable


class Tombstones:
    """The deleted katas of a namespace. Any thread may use them."""

    def __init__(self, containers: DataContainers) -> None:
        self._containers = containers

    def has(self, kata_id: str) -> bool:
        """Say whether the kata was deleted."""
        return (self._containers.deleted_folder / kata_id).exists()

    def ids(self) -> set[str]:
        """Return the ids of all deleted katas."""
        try:
            return set(os.listdir(self._containers.deleted_folder))
        except FileNotFoundError:  # none was deleted yet
            return set()

    def add(self, kata_id: str) -> None:
        """Note durably that a kata was deleted. Raises EngineUnavailable."""
        folder = self._containers.deleted_folder
        if not folder.is_dir():
            self._containers.create_plain_volume(self._containers.namespace.deleted, "deleted")
        (folder / kata_id).touch()
        durable.sync_folder(folder)

    def remove(self, kata_id: str) -> None:
        """Forget that a kata was deleted."""
        with contextlib.suppress(FileNotFoundError):
            (self._containers.deleted_folder / kata_id).unlink()
