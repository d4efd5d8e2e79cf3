"""What a storer has to do with the other machines of its installation.

`Installation` is a storer that is alone: it owns every kata, and keeps nothing elsewhere.
`SharedInstallation` is one of several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import structlog

from dojo.errors import EtcdBehind, EtcdUnavailable, KataMoved, LockHeld
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
from storer.cluster.editions import Editions
from storer.cluster.keys import RecordKeys
from storer.cluster.ledger import Kept, SharedLedger
from storer.cluster.owners import NOBODY, Held, Owners
from storer.cluster.records import Records
from storer.fs import durable
from storer.kata.edit import At
from storer.kata.ledger import ALONE, Ledger

# In a kata's folder: the token with which its owner brought it up to date.
NOTE = ".owner"

_log = structlog.get_logger()

NOTHING = Kept(None, None, {})

# What a storer that is alone holds of each kata.
EVERYTHING = Held(0, None, is_here=True)


class Installation:
    """The installation of a storer that is alone. Any thread may use it."""

    is_shared = False
    ledger: Ledger = ALONE

    def start(self) -> None:
        """Join the others. Raises EtcdUnavailable."""

    def unready(self) -> Readiness | None:
        """Return why this machine takes no calls; None if it does."""
        return None

    def stop(self) -> None:
        """Leave the others."""

    own_name = ""

    def machines(self) -> list[Node]:
        """Return the machines that live, in the order of their names; none if this is the only one.

        This one is among them.
        """
        return []

    def owners_of_all(self) -> list[str]:
        """Return the name of each kata's owner; "" for a kata that was given up."""
        return []

    def own_ids(self) -> list[str]:
        """Return the ids of the katas that this machine owns, of those that others can take."""
        return []

    def is_draining(self) -> bool:
        """Say whether this machine takes no more katas."""
        return False

    def drain(self, *, end: bool) -> None:
        """Take no more katas, or take some again."""

    def is_cut_off(self) -> bool:
        """Say whether others take this machine for gone."""
        return False

    def is_here(self, kata_id: str) -> bool:
        """Say whether the kata's folder has the kata, as far as this machine knows."""
        return True

    def is_settled(self, kata_id: str) -> bool:
        """Say whether the kata's folder surely has all of it."""
        return True

    def owner(self, kata_id: str) -> str | None:
        """Return which other machine owns a kata, as far as this one knows; None if none does."""
        return None

    def is_ours(self, kata_id: str) -> bool:
        """Say whether this machine owns a kata, as far as it knows."""
        return True

    def is_in_use(self, kata_id: str) -> bool:
        """Say whether a machine owns a kata, or one gave it up to whoever asks for it next."""
        return False

    def ids(self) -> Iterable[str]:
        """Return the ids of the katas that are in use, on this machine too."""
        return ()

    def claim(self, kata_id: str, exists: Callable[[], bool]) -> Held:
        """Make this machine the owner of a kata; return what it holds then.

        `exists` says whether there is such a kata if nobody owns it. Raises KataNotFound, KataMoved
        or EtcdUnavailable.
        """
        return EVERYTHING

    def continues(self, held: Held, folder: Path) -> bool:
        """Say whether what is in the folder of a claimed kata only lacks what etcd has of it."""
        return True

    def is_superseded(self, kata_id: str, folder: Path) -> bool:
        """Say whether others have all that is in the folder of a kata that this machine owned.

        For the kata's lock's holder. Raises EtcdUnavailable or ArchiveUnavailable.
        """
        return False

    def check(self, kata_id: str) -> None:
        """Raise EtcdBehind if the archive has a kata from a later claim than this machine's."""

    def is_newest(self, kata_id: str, folder: Path) -> bool:
        """Say whether nobody can have more of a kata without an owner than what is in its folder.

        It was never one of the installation's, or this machine had it last. Raises
        ArchiveUnavailable.
        """
        return True

    def kept(self, kata_id: str) -> Kept:
        """Return what the others would need of a kata besides its archived copy."""
        return NOTHING

    def kept_since(self, kata_id: str, held: Held) -> Kept:
        """Return what was kept of a kata and its folder may lack, which continues by this claim.

        Raises KataMoved if the claim is not the newest: the archive may then have what the folder
        lacks.
        """
        return NOTHING

    def create(self, kata_id: str, files: dict[str, bytes]) -> Held | None:
        """Keep a new kata, of these files; return what is held of it, None if the id is taken.

        Raises EtcdUnavailable or EtcdFull: then it may be there all the same.
        """
        return EVERYTHING

    def replace(
        self, kata_id: str, pieces: Callable[[], Iterator[bytes]], held: Held | None = None
    ) -> Held:
        """Keep a kata whole, as a compressed tar, in place of what was kept of it.

        Return what is held of it then. Without `held` the kata is new, or its folder is up to date.
        Raises as `create`, or KataMoved.
        """
        return EVERYTHING

    def arrived(self, kata_id: str, folder: Path, held: Held) -> None:
        """Note that a kata's folder has all that was kept when the kata was claimed.

        For its lock's holder, exclusively. Of an earlier claim nothing is noted.
        """

    def renew(self, kata_id: str, folder: Path) -> None:
        """Have a kata written in another edition if the archive did not answer a write of it.

        For the holder of its lock who archives it. Raises KataMoved or EtcdUnavailable.
        """

    def trim(
        self, kata_id: str, edition: str, newest: Mapping[str, At], options_sha256: str
    ) -> bool:
        """Keep nothing more of what the archive has, as SharedLedger.trim does.

        Return False if that has to be tried again.
        """
        return True

    def delete(self, kata_id: str) -> None:
        """Have nobody own a kata, and keep nothing of it; nobody creates it again meanwhile.

        For the holder of the kata's lock, who deletes the kata then, and calls `deleted`. Raises
        KataMoved or EtcdUnavailable.
        """

    def deleted(self, kata_id: str) -> None:
        """Note that a kata is gone everywhere."""

    def unfinished_deletions(self) -> Iterable[str]:
        """Yield the ids of katas that somebody was deleting who died; the caller deletes each."""
        return ()

    def give_up(self, kata_id: str) -> None:
        """Have nobody own a kata, so that the next machine that is asked for it does.

        For the kata's lock's holder. Raises as `delete`.
        """

    def release(self, kata_id: str) -> None:
        """Have nobody own a kata, which the archive has as it is. Raises as `delete`."""


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
        self._etcd = etcd
        self._keys = keys
        self.own = own
        self.nodes = nodes
        self.owners = owners
        self._editions = editions
        self._archive = archive
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

    def own_ids(self) -> list[str]:
        """Return the ids of the katas that this machine owns."""
        return self.owners.own_ids()

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
        """Say whether the folder has the token that this machine had just before."""
        return held.before is not None and held.before == _token_in(folder)

    def is_superseded(self, kata_id: str, folder: Path) -> bool:
        """Say whether another machine has claimed the kata since, or archived it, or deleted it.

        An etcd that knows of nobody is not enough: it may have lost its data.
        """
        if self.is_ours(kata_id) or self.owners.held(kata_id) is not None:
            return False
        token = _token_in(folder)
        found = self._etcd.get(self._keys.owner(kata_id))
        if found is not None:
            return found.value not in {self.own_name.encode(), NOBODY} and found.revision > token
        return self._archive.newest_token(kata_id) >= token > 0

    def check(self, kata_id: str) -> None:
        """Raise EtcdBehind if the archive has a later edition than this owner's would be."""
        held = self.owners.held(kata_id)
        if held is not None and self._archive.newest_token(kata_id) > held.token:
            raise EtcdBehind(kata_id)

    def is_newest(self, kata_id: str, folder: Path) -> bool:
        """Say whether the archive has nothing from after this machine brought the kata up to date.

        Who owned it later would have archived it, or be its owner still. If etcd has lost its data,
        this is the newest that there is.
        """
        token = _token_in(folder)
        return not (folder / NOTE).exists() or self._archive.newest_token(kata_id) <= token

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
            return self.owners.create(kata_id, [put(self._keys.base(kata_id), value)])
        except OutcomeUnknown as error:
            raise EtcdUnavailable(str(error)) from error

    def replace(
        self, kata_id: str, pieces: Callable[[], Iterator[bytes]], held: Held | None = None
    ) -> Held:
        """Keep a kata whole in the archive; etcd says where."""
        if held is None and self.owners.held(kata_id) is not None:
            held = self.owners.here(kata_id)
        value = self._records.of_tar(kata_id, pieces())
        records = self._keys.records(kata_id)
        key = self._keys.base(kata_id)
        base = put(key, value)
        # A transaction can't delete and set the same key.
        others = [delete_range(records, key), delete_range(key + b"\0", after(records))]
        try:
            if held is not None:
                return self.owners.own_again(kata_id, held, [*others, base])
            created = self.owners.create(kata_id, [base])
        except OutcomeUnknown as error:
            raise EtcdUnavailable(str(error)) from error
        if created is None:
            raise LockHeld(f"kata {kata_id}", "another machine uses it")
        return created

    def arrived(self, kata_id: str, folder: Path, held: Held) -> None:
        """Write the owner's token into the folder."""
        if self.owners.held(kata_id) is held:
            durable.replace(folder / NOTE, f"{held.token}\n".encode(), sync=False)
            held.is_here = True

    def renew(self, kata_id: str, folder: Path) -> None:
        """Get a new token for a kata, and write it into the folder, if the archive is in doubt."""
        if self._editions.is_unanswered(kata_id):
            try:
                held = self.owners.renew(kata_id)
            except OutcomeUnknown as error:
                raise EtcdUnavailable(str(error)) from error
            durable.replace(folder / NOTE, f"{held.token}\n".encode(), sync=False)

    def trim(
        self, kata_id: str, edition: str, newest: Mapping[str, At], options_sha256: str
    ) -> bool:
        """Delete from etcd what the archive has."""
        try:
            count = self.ledger.trim(kata_id, int(edition, 16), newest, options_sha256)
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
        self._disown(kata_id, self.owners.here(kata_id))

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


def _token_in(folder: Path) -> int:
    """Return the token with which a kata was brought up to date; 0 if there is none."""
    try:
        return int((folder / NOTE).read_text("ascii"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return 0
