"""The installation of a storer that is one of several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import structlog

from dojo.errors import EtcdBehind, EtcdFull, EtcdUnavailable, KataMoved, LockHeld
from dojo.etcd import rpc_pb2
from dojo.etcd.client import (
    Etcd,
    OutcomeUnknown,
    after,
    delete,
    delete_prefix,
    delete_range,
    put,
)
from dojo.machines.nodes import LEASE_SECONDS, Node, Nodes, OwnNode
from dojo.service import readiness
from dojo.service.readiness import Readiness
from storer.archive.archive import Archive
from storer.archive.editions import edition
from storer.cluster.editions import Editions
from storer.cluster.installation import NO_EDITION, NOTE, Installation, edition_in
from storer.cluster.keys import RecordKeys
from storer.cluster.ledger import Kept, SharedLedger
from storer.cluster.owners import NOBODY, Held, Owners
from storer.cluster.records import Records
from storer.fs import durable
from storer.kata.edit import At

_log = structlog.get_logger()


class SharedInstallation(Installation):
    """The installation of a storer that is one of several."""

    is_shared = True

    def __init__(
        self,
        etcd: Etcd,
        keys: RecordKeys,
        own: OwnNode,
        nodes: Nodes,
        owners: Owners,
        *,
        editions: Editions,
        archive: Archive,
    ) -> None:
        """Write to an archive that asks the `editions`."""
        super().__init__(archive)
        self._etcd = etcd
        self._keys = keys
        self.own = own
        self.nodes = nodes
        self.owners = owners
        self._editions = editions
        self._records = Records(archive)
        self.ledger: SharedLedger = SharedLedger(etcd, keys, owners, self._records)

    def start(self) -> None:
        """Join the others."""
        self.owners.start()
        self.nodes.start()
        self.own.start()

    def stop(self) -> None:
        """Leave the others; what this machine owns stays its own until somebody asks for it."""
        self.own.stop()
        self.nodes.stop()
        self.owners.stop()
        self._etcd.close()

    def unready(self) -> Readiness | None:
        """Return why this machine takes no calls: it is drained, or others take it for gone."""
        if self.is_cut_off():
            return readiness.not_ready("etcd does not answer this machine")
        return readiness.DRAINING if self.is_draining() else None

    @property
    def own_name(self) -> str:  # type: ignore[override]  # read-only in both
        """The name of this machine."""
        return self.own.node.name

    def machines(self) -> list[Node]:
        """Return the machines that live, this one as it is now."""
        others = {node.name: node for node in self.nodes.all()}
        found = {**others, self.own.node.name: self.own.node}
        return [found[name] for name in sorted(found)]

    def owners_of_all(self) -> list[str]:
        """Return the name of each kata's owner."""
        return self.owners.all()

    def accept_etcd(self) -> int:
        """Begin a generation after those that the archive knows."""
        number = max(self.owners.generations.read(), self._archive.generation()) + 1
        # The archive first: no file may be of a generation that the archive does not know of.
        self._archive.note_generation(number)
        self.owners.generations.begin(number)
        return number

    def own_ids(self) -> list[str]:
        """Return the ids of the katas that this machine owns."""
        return self.owners.own_ids()

    def problem(self) -> str:
        """Return what is wrong with etcd, as the member says that this machine asks."""
        try:
            status = self._etcd.status()
        except EtcdUnavailable as error:
            return str(error)
        if status.is_full:
            sizes = (
                f"{status.size_bytes / 1e6:.0f} MB, {status.used_bytes / 1e6:.0f} MB of it in use"
            )
            return f"etcd is full ({sizes}): see 'When etcd is full' in docs/many-machines.md"
        return f"etcd: {'; '.join(status.errors)}" if status.errors else ""

    def is_draining(self) -> bool:
        """Say whether this machine takes no more katas."""
        return self.own.node.is_draining

    def drain(self, *, end: bool) -> None:
        """Take no more katas, or take some again; the others are told."""
        self.own.drain(end=end)

    def is_cut_off(self) -> bool:
        """Say whether etcd has not answered for so long that others take this machine for gone."""
        return self.own.silent_seconds() > LEASE_SECONDS

    def is_here(self, kata_id: str) -> bool:
        """Say whether this machine owns the kata, and its folder has all that was acknowledged."""
        held = self.owners.held(kata_id)
        return held is not None and held.is_here

    def is_settled(self, kata_id: str) -> bool:
        """Say whether nothing of the kata that etcd may have is missing in its folder."""
        held = self.owners.held(kata_id)
        return held is not None and held.is_here and not held.is_doubtful

    def owner(self, kata_id: str) -> str | None:
        """Return which other machine owns a kata, as far as this one knows; None if none does."""
        found = self.owners.owner(kata_id)
        return None if found == self.own.node.name else found

    def is_ours(self, kata_id: str) -> bool:
        """Say whether this machine owns a kata, as far as it knows."""
        return self.owners.owner(kata_id) == self.own_name

    def is_in_use(self, kata_id: str) -> bool:
        """Say whether etcd knows of a kata, as far as this machine knows."""
        return self.owners.is_in_use(kata_id)

    def ids(self) -> Iterable[str]:
        """Return the ids of the katas of which etcd knows."""
        return self.owners.ids()

    def claim(self, kata_id: str, exists: Callable[[], bool]) -> Held:
        """Make this machine the owner of a kata."""
        return self.owners.claim(kata_id, exists)

    def continues(self, held: Held, folder: Path) -> bool:
        """Say whether the folder is of the token that this machine had just before."""
        return held.edition_before is not None and held.edition_before == edition_in(folder)

    def is_superseded(self, kata_id: str, folder: Path) -> bool:
        """Say whether another machine has claimed the kata since, or archived it, or deleted it.

        An etcd that knows of nobody is not enough: it may have lost its data.
        """
        if self.is_ours(kata_id) or self.owners.held(kata_id) is not None:
            return False
        here = edition_in(folder)
        found = self._etcd.get(self._keys.owner(kata_id))
        if found is not None:
            claimed = edition(self.owners.generations.current, found.revision)
            return found.value not in {self.own_name.encode(), NOBODY} and claimed > here
        return self._archive.newest_number(kata_id) >= here > 0

    def check(self, kata_id: str) -> None:
        """Raise EtcdBehind if the archive has a later edition than this owner's would be.

        The archive was asked when this process claimed the kata first. It may be away when etcd did
        not answer for a moment, and this process claims again what it has.
        """
        held = self.owners.held(kata_id)
        if held is None or held.is_renewed:
            return
        if self._archive.newest_number(kata_id) > held.edition:
            self.owners.drop(kata_id, held)  # its next use may be in another generation
            raise EtcdBehind(kata_id)

    def is_newest(self, kata_id: str, folder: Path) -> bool:
        """Say whether the archive has nothing from after this machine brought the kata up to date.

        Who owned it later would have archived it, or be its owner still. If etcd has lost its data,
        this is the newest that there is.
        """
        here = edition_in(folder)
        return not (folder / NOTE).exists() or self._archive.newest_number(kata_id) <= here

    def kept(self, kata_id: str) -> Kept:
        """Return what etcd has of a kata."""
        return self.ledger.read(kata_id)

    def kept_since(self, kata_id: str, held: Held) -> Kept:
        """Return what etcd has of a kata that is claimed, of all that was kept since the claim."""
        kept = self.ledger.read(kata_id)
        self.owners.check(kata_id, held)  # after: an owner in between trims what it archived
        return kept

    def create(self, kata_id: str, files: dict[str, bytes]) -> Held | None:
        """Own a new kata, and keep its files in etcd."""
        value = self._records.of_files(kata_id, files)
        try:
            held = self.owners.create(kata_id, [put(self._keys.base(kata_id), value)])
        except OutcomeUnknown as error:
            raise EtcdUnavailable(str(error)) from error
        except EtcdFull:
            self._records.discard(kata_id, self._records.bodies_of(kata_id, value))
            raise
        if held is None:
            self._records.discard(kata_id, self._records.bodies_of(kata_id, value))
        return held

    def replace(
        self, kata_id: str, pieces: Callable[[], Iterator[bytes]], held: Held | None = None
    ) -> Held:
        """Keep a kata whole in the archive; etcd says where."""
        if held is None and self.owners.held(kata_id) is not None:
            held = self.owners.here(kata_id)
        before = [] if held is None else self._records.bodies(kata_id)
        value = self._records.of_tar(kata_id, pieces())
        records = self._keys.records(kata_id)
        key = self._keys.base(kata_id)
        base = put(key, value)
        # A transaction can't delete and set the same key.
        others = [delete_range(records, key), delete_range(key + b"\0", after(records))]
        try:
            if held is not None:
                owned = self.owners.own_again(kata_id, held, [*others, base])
                self._records.discard(kata_id, before)
                return owned
            created = self.owners.create(kata_id, [base])
        except OutcomeUnknown as error:
            raise EtcdUnavailable(str(error)) from error
        if created is None:
            self._records.discard(kata_id, self._records.bodies_of(kata_id, value, is_base=True))
            raise LockHeld(f"kata {kata_id}", "another machine uses it")
        return created

    def arriving(self, folder: Path) -> None:
        """Write into the folder that it is of no edition.

        Without a note it would be of the time before there were several machines, and the newest
        as soon as etcd has nothing of the kata, as it is when all of it is in the archive.
        """
        _note(folder, NO_EDITION)

    def arrived(self, kata_id: str, folder: Path, held: Held) -> None:
        """Write into the folder of which edition it is."""
        if self.owners.held(kata_id) is held:
            _note(folder, held.edition)
            held.is_here = True

    def renew(self, kata_id: str, folder: Path) -> None:
        """Get a new token for a kata, and write it into the folder, if the archive is in doubt."""
        if self._editions.is_unanswered(kata_id):
            try:
                held = self.owners.renew(kata_id)
            except OutcomeUnknown as error:
                raise EtcdUnavailable(str(error)) from error
            _note(folder, held.edition)

    def trim(
        self, kata_id: str, copied: str, newest: Mapping[str, At], options_sha256: str
    ) -> bool:
        """Delete from etcd what the archive has."""
        try:
            count = self.ledger.trim(kata_id, int(copied, 16), newest, options_sha256)
        except KataMoved as error:  # its owner does it
            _log.info("not trimmed", kata=kata_id, reason=str(error))
        except (OutcomeUnknown, EtcdUnavailable) as error:
            _log.info("not trimmed", kata=kata_id, reason=str(error))
            return False
        else:
            _log.debug("trimmed", kata=kata_id, records=count)
        return True

    def delete(self, kata_id: str) -> None:
        """Delete a kata from etcd; say there that it is being deleted."""
        gone = put(self._keys.deleted(kata_id), self.own.node.name.encode())
        held = self.owners.held(kata_id)
        self._editions.deletions[kata_id] = self._disown(kata_id, held, gone)

    def deleted(self, kata_id: str) -> None:
        """Say no longer that a kata is being deleted."""
        if self._editions.deletions.pop(kata_id, None) is not None:
            try:
                self._etcd.transact([], [delete(self._keys.deleted(kata_id))])
            except OutcomeUnknown as error:  # the next start of a storer does it
                _log.info("deletion not finished", kata=kata_id, reason=str(error))

    def unfinished_deletions(self) -> Iterator[str]:
        """Yield the ids of katas that somebody was deleting; the caller deletes each."""
        found, _ = self._etcd.entries(self._keys.deletions)
        for each in found:
            kata_id = each.key.removeprefix(self._keys.deletions).decode()
            self._editions.deletions[kata_id] = each.revision
            yield kata_id

    def give_up(self, kata_id: str) -> None:
        """Have nobody own a kata; etcd keeps what it has of it."""
        try:
            self.owners.give_up(kata_id)
        except OutcomeUnknown as error:
            raise EtcdUnavailable(str(error)) from error

    def release(self, kata_id: str) -> None:
        """Delete a kata from etcd."""
        # Before: the next owner may store something at once.
        bodies = self._records.bodies(kata_id)
        self._disown(kata_id, self.owners.here(kata_id))
        self._records.discard(kata_id, bodies)

    def _disown(self, kata_id: str, held: Held | None, *more: rpc_pb2.RequestOp) -> int:
        changes = [
            delete(self._keys.owner(kata_id)),
            delete_prefix(self._keys.records(kata_id)),
            *more,
        ]
        try:
            revision = self.owners.write(kata_id, held, changes)
        except OutcomeUnknown as error:
            raise EtcdUnavailable(str(error)) from error
        if held is not None:
            self.owners.drop(kata_id, held)
        return revision


def _note(folder: Path, edition_number: int) -> None:
    """Write into a kata's folder of which edition it is."""
    durable.replace(folder / NOTE, f"{edition_number}\n".encode(), sync=False)
