"""The changes of katas in etcd: there before they are acknowledged, until the archive has them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from dojo.errors import EtcdUnavailable, KataMoved
from dojo.etcd.client import MAX_CHANGES, Etcd, OutcomeUnknown, delete, is_absent, is_unchanged, put
from dojo.etcd.client import Entry as EtcdEntry
from storer.cluster.keys import RecordKeys
from storer.cluster.owners import Owners
from storer.cluster.records import Base, Records
from storer.fs.write_ahead_log import Entry, Log, Position, WriteAheadLog
from storer.kata.edit import At
from storer.kata.ledger import Ledger

_log = structlog.get_logger()


@dataclass(frozen=True)
class Kept:
    """What etcd has of a kata: entries in their order, for each avatar.

    `base` and `options` are None if etcd has none.
    """

    base: Base | None
    options: bytes | None
    entries: dict[str, list[Entry]]


class SharedLedger(Ledger):
    """The ledger of a storer that is one of several. Any thread may use it."""

    def __init__(self, etcd: Etcd, keys: RecordKeys, owners: Owners, records: Records) -> None:
        self._etcd = etcd
        self._keys = keys
        self._owners = owners
        self._records = records

    def log(self, kata_id: str, avatar: str, folder: Path) -> Log:
        """Return a log that etcd has before the disk has it."""
        return _SharedLog(self, kata_id, avatar, WriteAheadLog(folder))

    def keep_options(self, kata_id: str, content: bytes) -> None:
        """Keep the content of a kata's options.json. Raises KataMoved, or as etcd does."""
        value = self._records.of_bytes(kata_id, content)
        self._write(kata_id, self._keys.options(kata_id), value)

    def keep_entry(self, kata_id: str, avatar: str, entry: Entry) -> None:
        """Keep a light or an edit. Raises as `keep_options`.

        If this raises, the entry can be in etcd all the same, and the kata is claimed again by its
        next use, which reads it there. So whoever is told that a change failed can send it again.
        """
        key = self._keys.light(kata_id, avatar, At(entry.number, entry.minor))
        self._write(kata_id, key, self._records.of_entry(kata_id, entry), is_new=True)

    def forget(self, kata_id: str) -> None:
        """Claim a kata again by its next use, which reads what etcd has of it."""
        if (held := self._owners.held(kata_id)) is not None:
            held.is_doubtful = True

    def read(self, kata_id: str) -> Kept:
        """Return what etcd has of a kata that this process owns. Raises as etcd does."""
        found, _ = self._etcd.entries(self._keys.records(kata_id))
        values = {each.key: each.value for each in found}
        base, options = self._keys.base(kata_id), self._keys.options(kata_id)
        entries: dict[str, list[Entry]] = {}
        for key, value in values.items():
            if (place := self._keys.place(kata_id, key)) is not None:
                entries.setdefault(place[0], []).append(self._records.entry(kata_id, value))
        return Kept(
            self._records.base(kata_id, values[base]) if base in values else None,
            self._records.content(kata_id, values[options]) if options in values else None,
            entries,
        )

    def trim(
        self, kata_id: str, edition: int, newest: Mapping[str, At], options_sha256: str
    ) -> int:
        """Delete what the archive has by now: all up to an avatar's `newest` light or edit.

        It has it in the `edition`. `options_sha256` is the digest of options.json as the archive
        has it. Return how many records were deleted. Raises KataMoved, or as etcd does.
        """
        held = self._owners.here(kata_id)
        if held.edition != edition:
            raise KataMoved(kata_id)
        found, _ = self._etcd.entries(self._keys.records(kata_id))
        covered: list[EtcdEntry] = []
        bodies: list[str] = []
        base = self._keys.base(kata_id)
        for each in found:
            place = self._keys.place(kata_id, each.key)
            if place is not None:
                avatar, at = place
                is_covered = avatar in newest and at <= newest[avatar]
            elif each.key == self._keys.options(kata_id):
                content = self._records.content(kata_id, each.value)
                is_covered = hashlib.sha256(content).hexdigest() == options_sha256
            else:
                is_covered = each.key == base
            if is_covered:
                covered.append(each)
                bodies += self._records.bodies_of(kata_id, each.value, is_base=each.key == base)
        step = MAX_CHANGES // 2
        for start in range(0, len(covered), step):
            some = covered[start : start + step]
            self._owners.write(
                kata_id,
                held,
                [delete(each.key) for each in some],
                *(is_unchanged(each.key, each.revision) for each in some),
            )
        self._records.discard(kata_id, bodies)
        return len(covered)

    def _write(self, kata_id: str, key: bytes, value: bytes, *, is_new: bool = False) -> None:
        more = [is_absent(key)] if is_new else []
        held = self._owners.here(kata_id)
        try:
            self._owners.write(kata_id, held, [put(key, value)], *more)
        except OutcomeUnknown as error:
            raise EtcdUnavailable(str(error)) from error


class _SharedLog:
    """An avatar's log in etcd, and then on the disk. For the holder of the avatar's lock."""

    def __init__(self, ledger: SharedLedger, kata_id: str, avatar: str, log: WriteAheadLog) -> None:
        self._ledger = ledger
        self._kata_id = kata_id
        self._avatar = avatar
        self._log = log

    def append(self, entry: Entry) -> Position:
        """Keep an entry in etcd, then on the disk."""
        self._ledger.keep_entry(self._kata_id, self._avatar, entry)
        try:
            return self._log.append(entry)
        except BaseException:
            self._ledger.forget(self._kata_id)
            raise

    def undo(self, before: Position) -> None:
        """Drop the last entry from the disk. etcd keeps it, and the kata's next use reads it."""
        self._ledger.forget(self._kata_id)
        self._log.undo(before)
