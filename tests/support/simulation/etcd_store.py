"""What an etcd has, and how its transactions change it: as much of it as `dojo.etcd.client` uses.

`tests/integration/several/test_simulated_etcd.py` compares it with a real one.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dojo.etcd import rpc_pb2
from dojo.etcd.client import MAX_CHANGES, Entry, Event, after

# Slashes in the keys of a kata's records, behind the first one.
_DEPTH = 3


class RefusedRequest(Exception):
    """A transaction that etcd takes for invalid."""


class LeaseNotFound(Exception):
    """A transaction sets a key for as long as a lease that there is not."""


@dataclass(frozen=True, slots=True)
class _Kept:
    value: bytes
    revision: int
    version: int
    lease: int


class EtcdStore:
    """The keys of an etcd, and their changes since the last compaction."""

    def __init__(self) -> None:
        self.revision = 1
        self.value_bytes = 0
        self._kept: dict[bytes, _Kept] = {}
        self._groups: dict[bytes, list[bytes]] = {}
        self._leases: dict[int, set[bytes]] = {}
        self._lease_count = 0
        # By the beginnings of keys, because a watch of owners must not look at every light.
        self._events: dict[bytes, list[Event]] = {}
        self.compacted = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: bytes) -> Entry | None:
        found = self._kept.get(key)
        return None if found is None else Entry(key, found.value, found.revision)

    def entries(self, prefix: bytes) -> list[Entry]:
        return [
            Entry(key, self._kept[key].value, self._kept[key].revision)
            for key in self._keys(prefix, after(prefix))
        ]

    def transact(
        self,
        conditions: Iterable[rpc_pb2.Compare],
        changes: Iterable[rpc_pb2.RequestOp],
        applied: Callable[[list[Event]], object] = lambda _: None,
    ) -> int | None:
        """Make all changes if all conditions hold; return the revision, or None if they don't.

        `applied` is called with what was changed. Raises RefusedRequest.
        """
        wanted, made = list(conditions), list(changes)
        self._check(wanted, made)
        if not all(map(self._holds, wanted)):
            return None
        leases = {each.request_put.lease for each in made if each.HasField("request_put")}
        if not leases <= {0, *self._leases}:
            raise LeaseNotFound
        events: list[Event] = []
        for change in made:
            self._change(change, self.revision + 1, events)
        if events:
            self.revision += 1
            self._note(events)
            applied(events)
        return self.revision

    def grant(self) -> int:
        self._lease_count += 1
        self._leases[self._lease_count] = set()
        return self._lease_count

    def has_lease(self, lease: int) -> bool:
        return lease in self._leases

    def end_lease(self, lease: int) -> bool:
        """Delete the keys of a lease, and the lease; return False if there is none."""
        keys = self._leases.pop(lease, None)
        if keys is None:
            return False
        events: list[Event] = []
        for key in sorted(keys):
            self._delete(key, self.revision + 1, events)
        if events:
            self.revision += 1
            self._note(events)
        return True

    def events(self, prefix: bytes, revision: int) -> list[Event]:
        """Return the changes after a revision of keys that begin with `prefix`, in order."""
        found: list[Event] = []
        for group, events in self._events.items():
            if group.startswith(prefix) or prefix.startswith(group):
                first = bisect.bisect_right(events, revision, key=lambda event: event.revision)
                found += (each for each in events[first:] if each.key.startswith(prefix))
        return sorted(found, key=lambda event: event.revision)

    def compact(self, revision: int) -> None:
        """Forget the changes up to a revision."""
        self.compacted = max(self.compacted, revision)
        for events in self._events.values():
            last = bisect.bisect_right(events, revision, key=lambda event: event.revision)
            del events[:last]

    def _check(
        self, conditions: Sequence[rpc_pb2.Compare], changes: Sequence[rpc_pb2.RequestOp]
    ) -> None:
        if max(len(conditions), len(changes)) > MAX_CHANGES:
            raise RefusedRequest("too many operations in txn request")
        puts: set[bytes] = set()
        for change in changes:
            if change.WhichOneof("request") == "request_put":
                key = change.request_put.key
                if not key:
                    raise RefusedRequest("key is not provided")
                if key in puts:
                    raise RefusedRequest("duplicate key given in txn request")
                puts.add(key)
        for change in changes:
            if change.WhichOneof("request") == "request_delete_range":
                deleted = change.request_delete_range
                begin, end = deleted.key, deleted.range_end
                if any(begin <= key < end if end else key == begin for key in puts):
                    raise RefusedRequest("duplicate key given in txn request")

    def _holds(self, condition: rpc_pb2.Compare) -> bool:
        found = self._kept.get(condition.key)
        if condition.target == rpc_pb2.Compare.VERSION:
            return (0 if found is None else found.version) == condition.version
        if condition.target == rpc_pb2.Compare.MOD:
            return (0 if found is None else found.revision) == condition.mod_revision
        raise AssertionError(f"not simulated: {condition}")

    def _change(self, change: rpc_pb2.RequestOp, revision: int, events: list[Event]) -> None:
        match change.WhichOneof("request"):
            case "request_put":
                self._put(change.request_put, revision, events)
            case "request_delete_range":
                deleted = change.request_delete_range
                if not deleted.range_end:
                    self._delete(deleted.key, revision, events)
                    return
                for key in self._keys(deleted.key, deleted.range_end):
                    self._delete(key, revision, events)
            case other:
                raise AssertionError(f"not simulated: {other}")

    def _put(self, put: Any, revision: int, events: list[Event]) -> None:
        before = self._kept.get(put.key)
        if before is None:
            bisect.insort(self._groups.setdefault(_group(put.key), []), put.key)
        else:
            self._leases.get(before.lease, set()).discard(put.key)
            self.value_bytes -= len(before.value)
        if put.lease:
            self._leases[put.lease].add(put.key)
        self.value_bytes += len(put.value)
        version = 1 if before is None else before.version + 1
        self._kept[put.key] = _Kept(put.value, revision, version, put.lease)
        events.append(Event(put.key, put.value, revision))

    def _delete(self, key: bytes, revision: int, events: list[Event]) -> None:
        before = self._kept.pop(key, None)
        if before is None:
            return
        self.value_bytes -= len(before.value)
        self._leases.get(before.lease, set()).discard(key)
        group = _group(key)
        keys = self._groups[group]
        del keys[bisect.bisect_left(keys, key)]
        if not keys:
            del self._groups[group]
        events.append(Event(key, None, revision))

    def _note(self, events: Iterable[Event]) -> None:
        for event in events:
            top = b"/".join(event.key.split(b"/", 3)[:3])
            self._events.setdefault(top, []).append(event)

    def _keys(self, begin: bytes, end: bytes) -> list[bytes]:
        group = _group(begin)
        if end > after(group):
            groups = list(self._groups.values())
        elif group.count(b"/") > _DEPTH:  # no other group is in this one
            groups = [self._groups.get(group, [])]
        else:
            groups = [keys for name, keys in self._groups.items() if name.startswith(group)]
        found: list[bytes] = []
        for keys in groups:
            first, last = bisect.bisect_left(keys, begin), bisect.bisect_left(keys, end)
            found += keys[first:last]
        return found if len(groups) == 1 else sorted(found)


def _group(key: bytes) -> bytes:
    """Return what a key shares with those that are read with it: /sim/kata/493A06504A/.

    It is the key up to its last slash, or to the fourth.
    """
    parts = key.split(b"/", _DEPTH + 1)
    return b"/".join([*parts[:-1], b""])
