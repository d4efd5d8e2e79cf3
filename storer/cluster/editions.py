"""The editions in which this machine writes katas to the archive.

An edition is the owner's token, with the generation of etcd before it, so those of a later owner
are higher: what a former owner writes late never counts. Of a kata that is being deleted it is the
revision of the deletion.
"""

from storer.archive.editions import edition
from storer.cluster.owners import Owners


class Editions:
    """Says in which edition a kata is written. Any thread may use it."""

    def __init__(self, owners: Owners) -> None:
        self._owners = owners
        # Each entry is set and removed by who deletes the kata, with the kata's lock held.
        self.deletions: dict[str, int] = {}

    def of(self, kata_id: str) -> int:
        """Return the edition of a kata whose folder is up to date. Raises KataMoved."""
        if (revision := self.deletions.get(kata_id)) is not None:
            return edition(self.generation(), revision)
        return self._owners.here(kata_id).edition

    def generation(self) -> int:
        """Return the generation of etcd, as it was read last."""
        return self._owners.generations.current
