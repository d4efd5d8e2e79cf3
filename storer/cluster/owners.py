"""Which machine owns a kata: one at a time, as etcd has it.

A machine owns a kata from the moment that its transaction has set the kata's owner, until another
one's has. The revision of that change is the owner's token. Whatever an owner writes to etcd is
conditional on its token, so a machine that was cut off, frozen or paused writes nothing for a kata
that another took over. No clock decides anything.

A process claims anew what its machine owned before: an earlier process, or a transaction of unknown
outcome, can then no longer write.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from dojo.errors import EtcdUnavailable, KataMoved, KataNotFound
from dojo.etcd import rpc_pb2
from dojo.etcd.client import Etcd, OutcomeUnknown, is_absent, is_unchanged, put
from dojo.machines.mirror import Mirror
from storer.archive.editions import edition
from storer.cluster.generations import Generations
from storer.cluster.keys import RecordKeys

# How often a claim is tried whose outcome is unknown, or which others made at the same moment.
_ATTEMPTS = 5
_PAUSE_SECONDS = 0.1

# How long it stays true that another machine can't be reached: a claim that took longer had to wait
# for etcd, so it may have been this machine that was cut off.
_UNREACHED_SECONDS = 2.0

_LOCKS = 256

# The owner of a kata that its owner gave up: other than one without an owner, it is in use.
NOBODY = b""

_log = structlog.get_logger()


@dataclass(slots=True)
class Held:
    """A kata that this process owns.

    `before` is the token that this node had just before, None if another node owned the kata, or
    nobody: only with that token in its folder is the kata that is here the current one.
    `generation` is that of etcd. `was_free` says that nobody owned it, `is_renewed` that this
    process had all of it and nobody else has had it since. `is_here` says that the folder has all
    that etcd has. `is_doubtful` says that etcd may have something that the folder
    lacks: the kata can be read, and is claimed again before it is written.
    """

    token: int
    before: int | None
    generation: int = 0
    was_free: bool = False
    is_renewed: bool = False
    is_here: bool = False
    is_doubtful: bool = False

    @property
    def edition(self) -> int:
        """The edition of what is archived with this token."""
        return edition(self.generation, self.token)

    @property
    def edition_before(self) -> int | None:
        """The edition of what was archived with the token before."""
        return None if self.before is None else edition(self.generation, self.before)


class Owners:
    """Claims katas for this node, and knows who owns the others. Any thread may use it.

    A lock guards what is held; one of several others admits one claim of a kata at a time.
    """

    def __init__(
        self, etcd: Etcd, keys: RecordKeys, node: str, on_lost: Callable[[str], object]
    ) -> None:
        """Claim for `node`; call `on_lost` with the id of each kata that another node took over."""
        self._etcd = etcd
        self._keys = keys
        self._node = node
        self._on_lost = on_lost
        self._held: dict[str, Held] = {}
        self._lock = threading.Lock()
        self._claims = [threading.Lock() for _ in range(_LOCKS)]
        self._known = Mirror(etcd, keys.owners, "owners", self._moved)
        self.generations = Generations(etcd, keys)

    def start(self) -> None:
        """Learn who owns what. Raises EtcdUnavailable."""
        self.generations.read()
        self._known.start()

    def stop(self) -> None:
        """Follow no longer."""
        self._known.stop()

    def owner(self, kata_id: str) -> str | None:
        """Return the node that owns a kata, as far as this one knows; None if nobody does."""
        found = self._known.get(kata_id)
        return found.decode() if found else None

    def is_in_use(self, kata_id: str) -> bool:
        """Say whether a node owns a kata, or gave it up to whoever asks for it next."""
        return self._known.get(kata_id) is not None

    def ids(self) -> list[str]:
        """Return the ids of all katas that are in use."""
        return [kata_id for kata_id, _ in self._known.items()]

    def all(self) -> list[str]:
        """Return the owner of each kata in use; "" for one that was given up."""
        return [owner.decode() for _, owner in self._known.items()]

    def own_ids(self) -> list[str]:
        """Return the ids of the katas that this node owns."""
        own = self._node.encode()
        return [kata_id for kata_id, owner in self._known.items() if owner == own]

    def held(self, kata_id: str) -> Held | None:
        """Return what this process holds of a kata; None if it does not own it."""
        with self._lock:
            return self._held.get(kata_id)

    def give_up(self, kata_id: str) -> None:
        """Have nobody own a kata that this process owns: the next claim, of any node, gets it.

        Raises KataMoved, EtcdFull or OutcomeUnknown.
        """
        held = self.held(kata_id)
        revision = self.write(kata_id, held, [put(self._keys.owner(kata_id), NOBODY)])
        if held is not None:
            self.drop(kata_id, held)
        self._known.note(kata_id, NOBODY, revision)

    def claim(self, kata_id: str, exists: Callable[[], bool]) -> Held:
        """Make this process the owner of a kata, unless it is; return what it holds.

        What is doubtful is claimed again, and stays doubtful while etcd does not answer. `exists`
        says whether there is such a kata if nobody owns it. Raises KataNotFound, KataMoved
        if another node is faster, or lives and could be asked by now, or EtcdUnavailable.
        """
        asked = time.monotonic()
        with self._claims[hash(kata_id) % _LOCKS]:
            held = self.held(kata_id)
            if held is None:
                return self._claim(kata_id, exists, asked)
            if held.is_doubtful and self._etcd.is_answering:
                with suppress(EtcdUnavailable):
                    renewed = self._claim(kata_id, exists, asked)
                    had_all = held.is_here or held.is_renewed
                    renewed.is_renewed = had_all and renewed.before == held.token
                    return renewed
            return held

    def _claim(self, kata_id: str, exists: Callable[[], bool], asked: float) -> Held:
        generation = self.generations.read()
        for _ in range(_ATTEMPTS):
            found = self._etcd.get(self._keys.owner(kata_id))
            if found is None and not self._may_claim(kata_id, exists):
                raise KataNotFound(kata_id)
            if found is not None and self._may_be_asked(found.value, asked):
                raise KataMoved(kata_id)
            condition = is_absent(self._keys.owner(kata_id))
            before = None
            if found is not None:
                condition = is_unchanged(found.key, found.revision)
                before = found.revision if found.value == self._node.encode() else None
            token = self._set(kata_id, [condition])
            if token is not None:
                held = Held(token, before, generation, was_free=found is None)
                return self._hold(kata_id, held)
        raise KataMoved(kata_id)

    def here(self, kata_id: str) -> Held:
        """Return what this process holds of a kata whose folder is up to date; raise KataMoved.

        What depends on the content of the folder is written with that token alone: another machine
        may have had the kata, and this one have claimed it again, since the content was read. The
        folder is brought up to date with the kata's lock held exclusively, so for as long as a call
        holds that lock, the token that it gets here is that of what it reads.
        """
        held = self.held(kata_id)
        if held is None or not held.is_here:
            raise KataMoved(kata_id)
        return held

    def check(self, kata_id: str, held: Held) -> None:
        """Ask etcd whether this process owns a kata by what is `held` of it.

        Raises KataMoved if it does not, or EtcdUnavailable.
        """
        found = self._etcd.get(self._keys.owner(kata_id))
        if found is None or found.revision != held.token:
            self.drop(kata_id, held)
            raise KataMoved(kata_id)

    def create(self, kata_id: str, records: Iterable[rpc_pb2.RequestOp]) -> Held | None:
        """Own a new kata, and keep its records; return None if there is or was one of this id.

        Raises EtcdUnavailable, EtcdFull or OutcomeUnknown.
        """
        keys = self._keys
        conditions = [is_absent(keys.owner(kata_id)), is_absent(keys.deleted(kata_id))]
        own = put(keys.owner(kata_id), self._node.encode())
        token = self._etcd.transact(conditions, [own, *records])
        if token is None:
            return None
        return self._hold(kata_id, Held(token, None, self.generations.current))

    def write(
        self,
        kata_id: str,
        held: Held | None,
        changes: Iterable[rpc_pb2.RequestOp],
        *more: rpc_pb2.Compare,
    ) -> int:
        """Make changes as the kata's owner, by what is `held` of it; return their revision.

        Raises KataMoved if that is nothing, or no longer so, or if one of the conditions `more`
        does not hold; EtcdFull, or OutcomeUnknown: then the kata has to be claimed again.
        """
        if held is None:
            raise KataMoved(kata_id)
        if held.is_doubtful:
            raise EtcdUnavailable("a change before was not answered")
        condition = is_unchanged(self._keys.owner(kata_id), held.token)
        try:
            revision = self._etcd.transact([condition, *more], changes)
        except OutcomeUnknown:
            held.is_doubtful = True
            raise
        if revision is None:
            self.drop(kata_id, held)
            raise KataMoved(kata_id)
        return revision

    def own_again(self, kata_id: str, held: Held, changes: Iterable[rpc_pb2.RequestOp]) -> Held:
        """Make changes as the kata's owner, and get a new token with them. Raises as `write`.

        Return what is held then; the folder has to be brought up to date.
        """
        own = put(self._keys.owner(kata_id), self._node.encode())
        token = self.write(kata_id, held, [own, *changes])
        return self._hold(kata_id, Held(token, None, held.generation))

    def renew(self, kata_id: str) -> Held:
        """Get a new token for a kata whose folder is up to date, and stays so. Raises as `write`.

        A call that writes at the same moment, with the old token, is refused and made again.
        """
        held = self.here(kata_id)
        own = put(self._keys.owner(kata_id), self._node.encode())
        token = self.write(kata_id, held, [own])
        return self._hold(kata_id, Held(token, held.token, held.generation, is_here=True))

    def drop(self, kata_id: str, held: Held) -> None:
        """Hold a kata no longer: it is another's, or has to be claimed again."""
        with self._lock:
            if self._held.get(kata_id) is held:
                del self._held[kata_id]

    def _may_be_asked(self, owner: bytes, asked: float) -> bool:
        """Say whether another owner lives, and was not reached for longer than that says much."""
        if owner in {NOBODY, self._node.encode()}:
            return False
        is_old = time.monotonic() - asked > _UNREACHED_SECONDS
        return is_old and self._etcd.get(self._keys.node(owner.decode())) is not None

    def _may_claim(self, kata_id: str, exists: Callable[[], bool]) -> bool:
        return exists() and self._etcd.get(self._keys.deleted(kata_id)) is None

    def _set(self, kata_id: str, conditions: list[rpc_pb2.Compare]) -> int | None:
        """Set this node as the owner; return the token, None if it has to be tried again."""
        own = put(self._keys.owner(kata_id), self._node.encode())
        try:
            return self._etcd.transact(conditions, [own])
        except OutcomeUnknown as error:
            _log.info("claimed again", kata=kata_id, reason=str(error))
            time.sleep(_PAUSE_SECONDS)
            return None

    def _hold(self, kata_id: str, held: Held) -> Held:
        with self._lock:
            self._held[kata_id] = held
        self._known.note(kata_id, self._node.encode(), held.token)
        return held

    def _moved(self, kata_id: str, owner: bytes | None) -> None:
        """Hold a kata no longer that another node took over."""
        if owner == self._node.encode():
            return
        held = self.held(kata_id)
        if held is not None and not self._is_still_ours(kata_id, held):
            self.drop(kata_id, held)
            if owner:
                _log.info("kata taken over", kata=kata_id, by=owner.decode())
                self._on_lost(kata_id)

    def _is_still_ours(self, kata_id: str, held: Held) -> bool:
        """Say whether the news of another owner is older than what this process holds."""
        try:
            found = self._etcd.get(self._keys.owner(kata_id))
        except EtcdUnavailable:
            return False  # it is claimed again by its next use
        return found is not None and found.revision == held.token
