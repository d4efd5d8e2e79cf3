"""How many etcds an installation has had, one after the other.

Tokens are revisions of etcd. Those of an etcd that is new, or that was restored from an older
snapshot, begin again below what is in the archive. With the generation before the token, editions
(`storer.archive.editions`) grow also from one etcd to the next.

What was archived counts as older only when an operator says so (`begin`): an etcd that has lost its
data is not one that never had any.
"""

from __future__ import annotations

from dojo.errors import EtcdUnavailable
from dojo.etcd.client import Etcd, OutcomeUnknown, is_absent, is_unchanged, put
from storer.cluster.keys import RecordKeys


class Generations:
    """The generation of the etcd that is in use; the first is 0. Any thread may use it."""

    def __init__(self, etcd: Etcd, keys: RecordKeys) -> None:
        self._etcd = etcd
        self._key = keys.generation
        # Whoever reads it sets it: it only grows, and one that is too low only refuses to archive.
        self.current = 0

    def read(self) -> int:
        """Return the number that etcd has now. Raises EtcdUnavailable."""
        found = self._etcd.get(self._key)
        self.current = 0 if found is None else int(found.value)
        return self.current

    def begin(self, after: int) -> int:
        """Begin a generation after the one in etcd, and after that number; return its number.

        Raises EtcdUnavailable, also if others do so at the same moment.
        """
        found = self._etcd.get(self._key)
        number = max(after, 0 if found is None else int(found.value)) + 1
        condition = (
            is_absent(self._key) if found is None else is_unchanged(self._key, found.revision)
        )
        try:
            revision = self._etcd.transact([condition], [put(self._key, str(number).encode())])
        except OutcomeUnknown as error:
            raise EtcdUnavailable(str(error)) from error
        if revision is None:
            raise EtcdUnavailable("another call has just begun a generation")
        self.current = number
        return number
