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

_TOO_LATE = "another call has just begun a generation"


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

    def begin(self, number: int) -> None:
        """Begin the generation of this number, which is after the one in etcd.

        Raises EtcdUnavailable, also if others do so at the same moment.
        """
        found = self._etcd.get(self._key)
        if found is not None and int(found.value) >= number:
            raise EtcdUnavailable(_TOO_LATE)
        condition = (
            is_absent(self._key) if found is None else is_unchanged(self._key, found.revision)
        )
        try:
            revision = self._etcd.transact([condition], [put(self._key, str(number).encode())])
        except OutcomeUnknown as error:
            raise EtcdUnavailable(str(error)) from error
        if revision is None:
            raise EtcdUnavailable(_TOO_LATE)
        self.current = number
