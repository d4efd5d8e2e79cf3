"""A simulated storer: the real code of ownership, and what calls do around it.

Each step of `storer.katas.fetch`, `storer.workers.replicator` and others that matters for who owns
a kata is here in the same order; git, the engine and files are not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dojo.errors import DojoError, KataInUse, KataMoved, KataNotFound
from dojo.machines.nodes import Node, Nodes, OwnNode
from storer.archive.archive import Copy
from storer.archive.stored_archive import StoredArchive
from storer.cluster.editions import Editions
from storer.cluster.installation import NOTE, NOTHING
from storer.cluster.keys import RecordKeys
from storer.cluster.ledger import _SharedLog
from storer.cluster.owners import Held, Owners
from storer.cluster.shared_installation import SharedInstallation
from storer.fs.write_ahead_log import EMPTY, Entry, Position
from storer.kata.edit import At
from storer.katas.hand_over import IDLE_SECONDS
from storer.machines import other_machine
from support.simulation.archive_store import ArchiveStore
from support.simulation.etcd_client import EtcdClient
from support.simulation.network import NoAnswer, Pending
from support.simulation.scheduler import Event, Lock, Process, SharedLock

if TYPE_CHECKING:
    from support.simulation.world import World

INSTALLATION = "sim"

# As many as `storer.katas.repository` makes.
_ATTEMPTS = 10

# What git's objects take, and whatever else is done with a kata's lock held, in some steps: a
# process can be frozen between any two. A busy disk makes one of many steps long.
_STEPS, _STEP_SECONDS = 4, 0.0005
_LONG_STEPS, _LONG_STEP_SECONDS = 0.02, 0.2

_COPY_SECONDS = 2.0
_RETRY_SECONDS = 5.0
_DRAIN_SECONDS = 1.0
_STALE_SECONDS = 15.0
_CALL_SECONDS = 60.0

# After so many copies, as `storer.workers.replicator` does.
_MAX_COPIES = 8

# What a machine knows of a kata's lights: for each avatar, the id of the request of each.
Lights = dict[str, list[str]]


@dataclass(frozen=True)
class Note:
    """What the archive has of a kata: how many lights of each avatar, in a copy of a base."""

    edition: str
    base: str
    number: int
    stamp: str
    counts: dict[str, int]


@dataclass
class Folder:
    """A kata's folder on a machine's disk."""

    path: Path
    lights: Lights
    touched: float
    copied: Note | None = None


@dataclass
class Machine:
    """A machine: what stays when its storer dies."""

    name: str
    top: Path
    folders: dict[str, Folder] = field(default_factory=dict)
    storer: Storer | None = None

    def wipe(self) -> None:
        """Lose the disk."""
        for kata_id in list(self.folders):
            self.remove(kata_id)

    def remove(self, kata_id: str) -> None:
        """Remove a kata's folder."""
        folder = self.folders.pop(kata_id)
        (folder.path / NOTE).unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            folder.path.rmdir()

    def add(self, kata_id: str, lights: Lights, now: float) -> Folder:
        """Publish a kata in a folder of its own."""
        path = self.top / kata_id
        path.mkdir(exist_ok=True)
        self.folders[kata_id] = Folder(path, lights, now)
        return self.folders[kata_id]


@dataclass(frozen=True)
class Request:
    """A call that records a test, or creates a kata (without an avatar)."""

    kata_id: str
    avatar: str
    id: str
    is_routed: bool = False
    is_forwarded: bool = False
    is_wanted: bool = False


class Storer:
    """One process. What is in it is lost with it."""

    def __init__(self, world: World, machine: Machine) -> None:
        self.process = Process(machine.name)
        self.machine = machine
        self._world = world
        self._scheduler = world.scheduler
        self._locks: dict[str, SharedLock] = {}
        self._avatar_locks: dict[tuple[str, str], Lock] = {}
        self._fetches: dict[tuple[str, bool], Event] = {}
        self._due: set[str] = set()
        self._copying: set[str] = set()
        self._forwarded: dict[str, dict[Pending, None]] = {}
        self.is_serving = False

    def start(self) -> None:
        """Join the others; the threads of the storer begin. For a task of its process."""
        world, name = self._world, self.machine.name
        self.etcd = EtcdClient(world.etcd, self.process, name)
        keys = RecordKeys(INSTALLATION)
        owners = Owners(self.etcd, keys, name, lambda _: None)  # type: ignore[arg-type]
        editions = Editions(owners)
        store = ArchiveStore(world.files, world.network, name)
        self.archive = StoredArchive(store, INSTALLATION, editions)
        nodes = Nodes(self.etcd, keys, self._node_gone)  # type: ignore[arg-type]
        own = OwnNode(self.etcd, keys, Node(name, f"{name}:4577"))  # type: ignore[arg-type]
        self.installation = SharedInstallation(
            *(self.etcd, keys, own, nodes, owners),  # type: ignore[arg-type]
            editions=editions,
            archive=self.archive,
        )
        self.installation.start()
        self.is_serving = True
        for kata_id in list(self.machine.folders):
            self._changed(kata_id)
        for work in (self._drain, self._remove_stale):
            self._scheduler.spawn(work, self.process)

    def is_ready(self) -> bool:
        """Say what a router is told: whether this storer takes calls."""
        return (
            self.is_serving
            and not (self.process.is_dead or self.process.is_frozen)
            and self.installation.unready() is None
        )

    # What calls do.

    def create(self, kata_id: str) -> None:
        """Create a kata, as CreateKata does."""
        held = self.installation.create(kata_id, {"manifest.json": b"{}"})
        if held is None:
            with self.using(kata_id):  # the same request has created it
                return
        folder = self.machine.add(kata_id, {}, self._scheduler.now)
        self.installation.arriving(folder.path)
        self.installation.arrived(kata_id, folder.path, held)
        self._changed(kata_id)

    def handle(self, request: Request) -> int:
        """Record a light, here or where the kata is; return its number.

        As `dojo.service.forwarding` does. Raises DojoError or NoAnswer.
        """
        if request.is_forwarded:
            if request.is_wanted and self._give_up_idle(request.kata_id):
                raise KataMoved(request.kata_id)
            return self.record(request)
        place = other_machine(self.installation, request.kata_id)
        if place is None:
            return self.record(request)
        forwarded = Request(
            *(request.kata_id, request.avatar, request.id),
            is_forwarded=True,
            is_wanted=request.is_routed,
        )
        try:
            return self._call(place.name, forwarded)
        except (NoAnswer, KataMoved):
            return self.record(request)

    def record(self, request: Request) -> int:
        """Record a light here, as `storer.kata.avatar.Avatar.record` does."""
        kata_id, avatar = request.kata_id, request.avatar
        with self.using(kata_id) as folder, self._avatar_lock(kata_id, avatar):
            folder.touched = self._scheduler.now
            lights = folder.lights.setdefault(avatar, [])
            if request.id in lights:
                return lights.index(request.id)
            number = len(lights)
            self._work()
            log = _SharedLog(self.installation.ledger, kata_id, avatar, _Disk(self._world))  # type: ignore[arg-type]
            log.append(Entry(number, request.id, {}))
            lights.append(request.id)
            self._changed(kata_id)
            return number

    def _work(self) -> None:
        chance = self._world.chance
        for _ in range(_STEPS):
            is_long = chance.random() < _LONG_STEPS
            mean_seconds = _LONG_STEP_SECONDS if is_long else _STEP_SECONDS
            self._scheduler.sleep(chance.expovariate(1 / mean_seconds))

    def read(self, kata_id: str) -> Lights:
        """Return a kata's lights, as reading calls do; they are sent on too."""
        place = other_machine(self.installation, kata_id)
        if place is not None:
            target = self._world.storer(place.name)
            if target is not None:
                with suppress(NoAnswer, KataMoved):
                    return self._world.network.call(
                        *(target.process, lambda: target.read_here(kata_id)),
                        *(self._forwarded.setdefault(place.name, {}), _CALL_SECONDS),
                        is_cut=lambda: self._world.is_cut(self.machine.name, place.name),
                    )
        return self.read_here(kata_id)

    def read_here(self, kata_id: str) -> Lights:
        """Return a kata's lights as they are here."""
        with self.using(kata_id) as folder:
            return {avatar: list(lights) for avatar, lights in folder.lights.items()}

    def archive_idle(self, kata_id: str) -> None:
        """Move a kata to the archive, as `storer.katas.delete.archive` does."""
        folder = self.machine.folders.get(kata_id)
        lock = self._lock(kata_id)
        if folder is None or not lock.try_acquire(shared=False):
            raise KataInUse(kata_id, "a call is in progress")
        try:
            if self.machine.folders.get(kata_id) is not folder:
                raise KataInUse(kata_id, "it is gone")
            self.installation.renew(kata_id, folder.path)
            self.archive.put(kata_id, iter([_encoded(folder.lights)]))
            self.installation.release(kata_id)
            self.machine.remove(kata_id)
        finally:
            lock.release()

    def drain(self, *, end: bool = False) -> None:
        """Take no more katas, or take some again."""
        self.installation.drain(end=end)

    @contextmanager
    def using(self, kata_id: str, *, importing: bool = True) -> Iterator[Folder]:
        """Give a kata's folder, up to date, as `storer.katas.repository.Katas.using` does."""
        lock = self._lock(kata_id)
        for _ in range(_ATTEMPTS):
            self._fetch(kata_id, importing=importing)
            lock.acquire(shared=True)
            folder = self.machine.folders.get(kata_id)
            if folder is not None and self.installation.is_here(kata_id):
                break
            lock.release()
        else:
            raise KataNotFound(kata_id, "it is archived or deleted again and again; try later")
        try:
            yield folder
        finally:
            lock.release()

    # How a kata gets here, as in `storer.katas.fetch`.

    def _fetch(self, kata_id: str, *, importing: bool) -> None:
        installation = self.installation
        if installation.is_settled(kata_id) and kata_id in self.machine.folders:
            return
        is_elsewhere = installation.is_in_use(kata_id) and not installation.is_ours(kata_id)
        if not importing and is_elsewhere:
            raise KataMoved(kata_id)
        key = kata_id, importing
        if (going := self._fetches.get(key)) is not None:
            going.wait()
            return  # what it raised is raised to the others too; here they look again
        self._fetches[key] = ended = Event(self._scheduler)
        try:
            self._take_over(kata_id, importing=importing)
        finally:
            del self._fetches[key]
            ended.set()

    def _take_over(self, kata_id: str, *, importing: bool) -> None:
        installation, folders = self.installation, self.machine.folders
        path = self.machine.top / kata_id

        def exists() -> bool:
            is_newest = kata_id in folders and installation.is_newest(kata_id, path)
            return is_newest or (importing and self.archive.find(kata_id) is not None)

        held = installation.claim(kata_id, exists)
        if installation.is_here(kata_id) and kata_id in folders:
            return
        installation.check(kata_id)
        if kata_id in folders:
            with self._locked(kata_id):
                if kata_id in folders:
                    if installation.is_here(kata_id):
                        return
                    if installation.continues(held, path):
                        self._catch_up(kata_id, held)
                        return
                    kept_nothing = installation.kept(kata_id) == NOTHING
                    if kept_nothing and installation.is_newest(kata_id, path):
                        whole = iter([_encoded(folders[kata_id].lights)])
                        held = installation.replace(kata_id, lambda: whole, held)
                        installation.arrived(kata_id, path, held)
                        return
        self._import(kata_id, held)
        self._world.taken_over(self.machine.name)

    def _catch_up(self, kata_id: str, held: Held) -> None:
        folder = self.machine.folders[kata_id]
        _add(folder.lights, self.installation.kept_since(kata_id, held).entries)
        self.installation.arrived(kata_id, folder.path, held)

    def _import(self, kata_id: str, held: Held) -> None:
        installation = self.installation
        archived = self.archive.find(kata_id)
        kept = installation.kept(kata_id)
        if archived is None and kept.base is None:
            raise KataNotFound(kata_id)
        with self._locked(kata_id):
            if kata_id in self.machine.folders and installation.is_here(kata_id):
                return
            archived = archived or self.archive.find(kata_id)
            lights: Lights = {}
            if kept.base is not None:
                if kept.base.tar:
                    with self.archive.open_body(kata_id, kept.base.tar) as body:
                        lights = json.loads(body.read())
                        body.finish()
            else:
                lights = self._from_archive(kata_id)
            _add(lights, kept.entries)
            folder = self.machine.add(kata_id, lights, self._scheduler.now)
            installation.arriving(folder.path)
            installation.arrived(kata_id, folder.path, held)
        self._changed(kata_id)

    def _from_archive(self, kata_id: str) -> Lights:
        """Return what `storer.archive.store_kata.get` gets: all of one edition."""
        while True:
            edition = self.archive.newest_edition(kata_id)
            try:
                with self.archive.open(kata_id, edition) as sealed:
                    lights: Lights = json.loads(sealed.read())
                    sealed.finish()
                base = Copy.base_of(sealed.digest)
                copies = list(self.archive.copies(kata_id, edition))
                for copy in copies:
                    if copy.base == base:
                        with self.archive.open_copy(kata_id, copy) as added:
                            for avatar, more in json.loads(added.read()).items():
                                lights.setdefault(avatar, []).extend(more)
                            added.finish()
            except KataNotFound:
                if self.archive.newest_edition(kata_id) == edition:
                    raise
            else:
                return lights

    # What goes on without a call.

    def _changed(self, kata_id: str, seconds: float = _COPY_SECONDS / 2) -> None:
        """Copy a kata soon, as `storer.workers.replicator` does."""
        if kata_id not in self._due:
            self._due.add(kata_id)
            self._scheduler.spawn(lambda: self._copy_soon(kata_id), self.process, seconds)

    def _copy_soon(self, kata_id: str) -> None:
        self._due.discard(kata_id)
        if kata_id in self._copying:  # there is one replicator, which copies one after the other
            self._changed(kata_id)
            return
        self._copying.add(kata_id)
        try:
            with self.using(kata_id, importing=False) as folder:
                self.installation.renew(kata_id, folder.path)
                edition, newest = self._copy(kata_id, folder)
                places = {avatar: At(number) for avatar, number in newest.items()}
                if not self.installation.trim(kata_id, edition, places, ""):
                    self._changed(kata_id, _RETRY_SECONDS)
        except (KataNotFound, KataMoved):
            return
        except DojoError:
            self._changed(kata_id, _RETRY_SECONDS)
        finally:
            self._copying.discard(kata_id)

    def _copy(self, kata_id: str, folder: Folder) -> tuple[str, dict[str, int]]:
        """Make sure that the archive has all lights; return the edition, and the newest of each."""
        edition = self.archive.edition(kata_id)
        now = {avatar: len(lights) for avatar, lights in folder.lights.items()}
        taken = {avatar: list(lights) for avatar, lights in folder.lights.items()}
        note = folder.copied
        if note is None or (note.edition, note.counts) != (edition, now):
            found = self.archive.find(kata_id)
            stamp = "" if found is None else found.stamp
            if (
                note is None
                or (note.edition, note.stamp) != (edition, stamp)
                or note.number >= _MAX_COPIES
            ):
                digest = self.archive.put(kata_id, iter([_encoded(taken)]), edition)
                base, number = Copy.base_of(digest), 0
            else:
                base, number = note.base, note.number + 1
                before = note.counts
                added = {avatar: each[before.get(avatar, 0) :] for avatar, each in taken.items()}
                self.archive.put_copy(kata_id, Copy(base, number, edition), iter([_encoded(added)]))
            written = self.archive.find(kata_id)
            stamp = "" if written is None else written.stamp
            folder.copied = Note(edition, base, number, stamp, now)
        return edition, {avatar: count - 1 for avatar, count in now.items() if count}

    def _drain(self) -> None:
        """Give all katas up while the machine is drained, as `storer.workers.drainer` does."""
        while True:
            self._scheduler.sleep(_DRAIN_SECONDS)
            if self.installation.is_draining():
                for kata_id in self.installation.own_ids():
                    with suppress(DojoError):
                        self.installation.claim(kata_id, lambda: False)
                        self._give_up(kata_id)

    def _remove_stale(self) -> None:
        """Remove katas that others have, as `storer.workers.stale_remover` does."""
        while True:
            self._scheduler.sleep(_STALE_SECONDS)
            for kata_id in list(self.machine.folders):
                with suppress(DojoError):
                    self._remove_if_stale(kata_id)

    def _remove_if_stale(self, kata_id: str) -> None:
        path = self.machine.top / kata_id
        if not self.installation.is_superseded(kata_id, path):
            return
        lock = self._lock(kata_id)
        if not lock.try_acquire(shared=False):
            return
        try:
            if kata_id in self.machine.folders and self.installation.is_superseded(kata_id, path):
                self.machine.remove(kata_id)
        finally:
            lock.release()

    def _give_up_idle(self, kata_id: str) -> bool:
        folder = self.machine.folders.get(kata_id)
        idle_seconds = self._scheduler.now - (0 if folder is None else folder.touched)
        if idle_seconds < IDLE_SECONDS:
            return False
        with suppress(DojoError):
            return self._give_up(kata_id)
        return False

    def _give_up(self, kata_id: str) -> bool:
        lock = self._lock(kata_id)
        if not lock.try_acquire(shared=False):
            return False
        try:
            self.installation.give_up(kata_id)
        finally:
            lock.release()
        return True

    def _call(self, name: str, request: Request) -> int:
        """Have another machine handle a request; NoAnswer also if it is gone."""
        target = self._world.storer(name)
        if target is None:
            raise NoAnswer(name)
        if self._world.is_cut(self.machine.name, name):
            self._wait_until_gone(name)
            raise NoAnswer(name)
        pending = self._forwarded.setdefault(name, {})
        handler = lambda: target.handle(request)  # noqa: E731
        return self._world.network.call(
            *(target.process, handler, pending, _CALL_SECONDS),
            is_cut=lambda: self._world.is_cut(self.machine.name, name),
        )

    def _wait_until_gone(self, name: str) -> None:
        pending = Pending(self._scheduler.waker())
        self._scheduler.call_later(_CALL_SECONDS, pending.end)
        self._forwarded.setdefault(name, {})[pending] = None
        self._scheduler.wait()

    def _node_gone(self, name: str) -> None:
        for each in list(self._forwarded.get(name, ())):
            each.end()

    def _lock(self, kata_id: str) -> SharedLock:
        if kata_id not in self._locks:
            self._locks[kata_id] = SharedLock(self._scheduler)
        return self._locks[kata_id]

    def _avatar_lock(self, kata_id: str, avatar: str) -> Lock:
        if (kata_id, avatar) not in self._avatar_locks:
            self._avatar_locks[kata_id, avatar] = Lock(self._scheduler)
        return self._avatar_locks[kata_id, avatar]

    @contextmanager
    def _locked(self, kata_id: str) -> Iterator[None]:
        lock = self._lock(kata_id)
        lock.acquire(shared=False)
        try:
            yield
        finally:
            lock.release()


class _Disk:
    """Where an entry is kept once etcd has it; the disk can be full."""

    def __init__(self, world: World) -> None:
        self._world = world

    def append(self, entry: Entry) -> Position:
        if self._world.chance.randrange(1_000_000) < self._world.disk_failures:
            raise DiskFailed("the disk did not take it")
        return EMPTY

    def undo(self, before: Position) -> None:
        raise NotImplementedError


class DiskFailed(DojoError):
    """The local disk did not take an entry."""


def _add(lights: Lights, entries: Mapping[str, list[Entry]]) -> None:
    """Add what was kept of a kata and is not there, as `storer.kata.kata.Kata.add` does."""
    for avatar, kept in entries.items():
        have = lights.setdefault(avatar, [])
        for entry in kept:
            if entry.number < len(have):
                if have[entry.number] != entry.commit:
                    raise AssertionError(f"two lights {entry.number} of {avatar}")
            elif entry.number == len(have):
                have.append(entry.commit)
            else:
                raise AssertionError(f"light {entry.number} of {avatar} follows {len(have) - 1}")


def _encoded(lights: Mapping[str, list[str]]) -> bytes:
    return json.dumps(lights).encode()


def request_id(text: str) -> str:
    """Return an id that can be a commit's too."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
