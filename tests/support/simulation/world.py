"""All that is simulated: machines, etcd, archive, routers and people, and what happens to them."""

from __future__ import annotations

import bisect
import contextlib
import hashlib
import random
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

from dojo.errors import DojoError
from storer.cluster.keys import RecordKeys
from support.simulation.archive_store import Files
from support.simulation.etcd_client import EtcdService
from support.simulation.judge import Judge
from support.simulation.network import Network, NoAnswer
from support.simulation.scheduler import Clock, Scheduler, Threading
from support.simulation.storer import INSTALLATION, Machine, Request, Storer, request_id

_CALL_SECONDS = 5.0
_PAUSE_SECONDS = 0.1
_CHECK_SECONDS = 1.0

# How often etcd forgets what it was, and how much it keeps, as its flags say.
_COMPACTION_SECONDS = 300.0
_RETENTION = 2000

# Places on a router's ring for each machine.
_POINTS = 160


class Router:
    """Sends calls to machines by the ids of katas. Two of them can disagree on who is there."""

    def __init__(self, world: World, salt: str = "") -> None:
        self._world = world
        self.salt = salt
        self._up: tuple[str, ...] = ()
        self._states: dict[str, int] = {}
        self._ring: list[tuple[bytes, str]] = []

    def check(self) -> None:
        """Look which machines take calls: two looks decide, as for HAProxy."""
        for name, machine in self._world.machines.items():
            is_ready = (
                machine.storer is not None
                and machine.storer.is_ready()
                and name not in self._world.cut_from_clients
            )
            state = self._states.get(name, 0)
            self._states[name] = min(2, max(0, state) + 1) if is_ready else max(-2, state - 1)
        up = tuple(
            name
            for name, state in self._states.items()
            if state == 2 or (name in self._up and state > -2)
        )
        if up != self._up:
            self._up = up
            self._ring = sorted(chain.from_iterable(map(_points, up)))

    def choose(self, kata_id: str) -> str | None:
        """Return the machine that gets the calls of a kata; None if none takes calls."""
        if not self._ring:
            return None
        at = bisect.bisect(self._ring, (_hash(self.salt + kata_id), ""))
        return self._ring[at % len(self._ring)][1]


class World:
    """Everything. `with` puts simulated clocks and threads under the code that owns katas."""

    def __init__(self, folder: Path, seed: int, *, routers: int = 2) -> None:
        self.folder = folder
        self.chance = random.Random(seed)  # noqa: S311 - a seed repeats it
        self.scheduler = Scheduler()
        self.network = Network(self.scheduler, self.chance)
        self.judge = Judge(RecordKeys(INSTALLATION))
        self.etcd = EtcdService(self.network, self.judge.applied)
        self.files = Files()
        self.machines: dict[str, Machine] = {}
        self.cut_from_clients: set[str] = set()
        self.routers = [Router(self) for _ in range(routers)]
        self.counts: Counter[str] = Counter()
        self.disk_failures = 0
        self.most_records_bytes = 0
        self.most_keys = 0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        threads, clock = Threading(self.scheduler), Clock(self.scheduler)
        for module in ("storer.cluster.owners", "dojo.machines.mirror", "dojo.machines.nodes"):
            self._stack.enter_context(patch(f"{module}.threading", threads))
        for module in ("storer.cluster.owners", "dojo.machines.nodes"):
            self._stack.enter_context(patch(f"{module}.time", clock))
        # Python's own differs from process to process, and with it who waits for whom.
        stable = lambda text: zlib.crc32(text.encode())  # noqa: E731
        self._stack.enter_context(patch("storer.cluster.owners.hash", stable, create=True))
        for module in (
            *(
                "storer.cluster.owners",
                "storer.cluster.ledger",
                "storer.cluster.shared_installation",
            ),
            *("dojo.machines.mirror", "dojo.machines.nodes"),
        ):
            self._stack.enter_context(patch(f"{module}._log", _Silent()))
        self._stack.callback(self.scheduler.close)
        self._check()
        self._compact()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, seconds: float) -> None:
        """Let time pass. Raises Violation."""
        end = self.scheduler.now + seconds
        self.scheduler.call_later(seconds, lambda: None)
        self.scheduler.run(lambda: self.scheduler.now >= end)

    def storer(self, name: str) -> Storer | None:
        """Return the storer of a machine, None if it has none that lives."""
        found = self.machines[name].storer
        return found if found is not None and not found.process.is_dead else None

    def is_cut(self, name: str, other: str) -> bool:
        """Say whether two machines can't reach each other."""
        return bool({name, other} & self.network.cut_from_peers)

    def taken_over(self, name: str) -> None:
        """Note that a machine has fetched a kata."""
        self.counts["fetches"] += 1

    # Machines.

    def add_machine(self, name: str) -> None:
        """Switch a new machine on."""
        top = self.folder / name
        top.mkdir()
        self.machines[name] = Machine(name, top)
        self.start(name)

    def start(self, name: str) -> None:
        """Start the storer of a machine that has none."""
        machine = self.machines[name]
        storer = machine.storer = Storer(self, machine)

        def start() -> None:
            while True:
                try:
                    storer.start()
                except DojoError:
                    self.scheduler.sleep(1)
                else:
                    return

        self.scheduler.spawn(start, storer.process)

    def kill(self, name: str) -> None:
        """Kill a machine's storer. Its disk stays."""
        if (storer := self.storer(name)) is not None:
            self.scheduler.kill(storer.process)

    def lose(self, name: str) -> None:
        """Lose a machine: nothing answers for it, not even that it is gone."""
        self.cut_off(name)
        self.cut_from_clients.add(name)
        self.kill(name)

    def bring_back(self, name: str, *, with_disk: bool) -> None:
        """Start a machine that was lost."""
        self.heal(name)
        if not with_disk:
            self.machines[name].wipe()
        self.start(name)

    def cut_off(self, name: str) -> None:
        """Cut a machine off from the others, from etcd and from the archive."""
        for cut in (
            self.network.cut_from_etcd,
            self.network.cut_from_peers,
            self.network.cut_from_archive,
        ):
            cut.add(name)

    def heal(self, name: str) -> None:
        """End all cuts of a machine."""
        for cut in (
            self.network.cut_from_etcd,
            self.network.cut_from_peers,
            self.network.cut_from_archive,
            self.cut_from_clients,
        ):
            cut.discard(name)

    def freeze(self, name: str) -> None:
        """Freeze a machine's storer."""
        if (storer := self.storer(name)) is not None:
            storer.process.is_frozen = True

    def thaw(self, name: str) -> None:
        """Let it continue."""
        if (storer := self.storer(name)) is not None and storer.process.is_frozen:
            self.scheduler.thaw(storer.process)

    # People.

    def create(self, kata_id: str) -> None:
        """Create a kata. For a task."""
        self._until_answered(kata_id, lambda storer: storer.create(kata_id))

    def press(self, kata_id: str, avatar: str, number: int, *, gives_up: bool = False) -> None:
        """Record a test of an avatar, its `number`-th. For a task.

        `gives_up` has it make the call once only.
        """
        text = request_id(f"{kata_id} {avatar} {number}")
        request = Request(kata_id, avatar, text, is_routed=True)
        begun = self.scheduler.now
        light = self._until_answered(
            kata_id, lambda storer: storer.handle(request), gives_up=gives_up
        )
        self.judge.gaps.append(self.scheduler.now - begun)
        if light is not None:
            self.judge.answered(kata_id, avatar, light, text)

    def read(self, kata_id: str, *, is_last: bool = False) -> None:
        """Read a kata by a machine at random. For a task."""
        name = None if is_last else self.chance.choice([*self.machines])
        found = self._until_answered(
            kata_id, lambda storer: storer.read(kata_id), name=name, gives_up=not is_last
        )
        if found is not None:
            self.judge.read(kata_id, found, is_last=is_last)

    def _until_answered(
        self, kata_id: str, handler: Any, *, name: str | None = None, gives_up: bool = False
    ) -> Any:
        while True:
            chosen = name or self.chance.choice(self.routers).choose(kata_id)
            storer = None if chosen is None else self.storer(chosen)
            if storer is not None and storer.is_serving and chosen is not None:
                try:
                    return self.network.call(
                        *(storer.process, lambda: handler(storer), {}, _CALL_SECONDS),  # noqa: B023
                        is_cut=lambda: chosen in self.cut_from_clients,  # noqa: B023
                    )
                except (NoAnswer, DojoError) as error:
                    self.counts[f"refused: {type(error).__name__}"] += 1
            if gives_up:
                return None
            self.scheduler.sleep(_PAUSE_SECONDS)

    def _check(self) -> None:
        for router in self.routers:
            router.check()
        store = self.etcd.store
        self.most_records_bytes = max(self.most_records_bytes, store.value_bytes)
        self.most_keys = max(self.most_keys, len(store))
        self.scheduler.call_later(_CHECK_SECONDS, self._check)

    def _compact(self) -> None:
        self.etcd.store.compact(self.etcd.store.revision - _RETENTION)
        self.scheduler.call_later(_COMPACTION_SECONDS, self._compact)


class _Silent:
    """A log that nobody reads."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


@contextmanager
def world(folder: Path, seed: int, names: Sequence[str]) -> Iterator[World]:
    """Yield a world with machines of these names, which take calls."""
    with World(folder, seed) as made:
        for name in names:
            made.add_machine(name)
        made.run(5)
        yield made


@cache
def _points(name: str) -> list[tuple[bytes, str]]:
    """Return the places of a machine on a ring."""
    return sorted((_hash(f"{name} {point}"), name) for point in range(_POINTS))


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
