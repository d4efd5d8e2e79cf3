"""The editions in which this machine writes katas to the archive.

An edition is the owner's token, with the generation of etcd before it, so those of a later owner
are higher: what a former owner writes late never counts. Of a kata that is being deleted it is the
revision of the deletion.

A write that the archive did not answer may happen later, over what was written under the same name
since then. So nothing more is written in that edition: the owner gets a new token before.
"""

from dojo.errors import ArchiveUnavailable
from storer.archive.editions import edition
from storer.cluster.owners import Owners


class Editions:
    """Says in which edition a kata is written. Any thread may use it."""

    def __init__(self, owners: Owners) -> None:
        self._owners = owners
        # Each entry is set and removed by who deletes the kata, with the kata's lock held.
        self.deletions: dict[str, int] = {}
        # The tokens of katas of which the archive did not answer a write. Each entry is set and
        # removed by who archives the kata, with the kata's lock held; there is one at a time.
        self._unanswered: dict[str, int] = {}

    def of(self, kata_id: str) -> int:
        """Return the edition of a kata whose folder is up to date.

        Raises KataMoved; ArchiveUnavailable if the kata needs a new token before.
        """
        if (revision := self.deletions.get(kata_id)) is not None:
            return edition(self.generation(), revision)
        if self.is_unanswered(kata_id):
            raise ArchiveUnavailable("a write before was not answered")
        return self._owners.here(kata_id).edition

    def unanswered(self, kata_id: str) -> None:
        """Write nothing more of a kata in this edition: the archive did not answer."""
        if (held := self._owners.held(kata_id)) is not None:
            self._unanswered[kata_id] = held.token

    def is_unanswered(self, kata_id: str) -> bool:
        """Say whether a kata needs a new token before it is written."""
        if (token := self._unanswered.get(kata_id)) is None:
            return False
        held = self._owners.held(kata_id)
        if held is not None and held.token == token:
            return True
        del self._unanswered[kata_id]  # it has another token by now
        return False

    def generation(self) -> int:
        """Return the generation of etcd, as it was read last."""
        return self._owners.generations.current
