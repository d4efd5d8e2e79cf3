"""People who practise in many katas while machines fail, are drained and added: one simulation."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dojo.errors import DojoError
from support.simulation.judge import Violation
from support.simulation.network import Faults
from support.simulation.world import World

# Only for as long as at least this part of the machines is as it should be.
_LEAST_WELL = 0.6

_SETTLE_SECONDS = 40.0
_READERS = 64

_Fault = tuple[Callable[[World, str], object], Callable[[World, str], object]]


def _lost(world: World, name: str) -> None:
    world.lose(name)


def _back(world: World, name: str) -> None:
    world.bring_back(name, with_disk=world.chance.random() < 0.5)


def _cut_from_etcd(world: World, name: str) -> None:
    world.network.cut_from_etcd.add(name)


def _drain(world: World, name: str) -> None:
    if (storer := world.storer(name)) is not None and storer.is_serving:
        storer.drain()


def _end_drain(world: World, name: str) -> None:
    if (storer := world.storer(name)) is not None and storer.is_serving:
        storer.drain(end=True)


def _disagree(world: World, name: str) -> None:
    """Have one router send calls elsewhere than the other."""
    world.routers[-1].salt = name


def _agree(world: World, _: str) -> None:
    world.routers[-1].salt = ""


FAULTS: Mapping[str, _Fault] = {
    "lost": (_lost, _back),
    "killed": (World.kill, World.start),
    "frozen": (World.freeze, World.thaw),
    "cut off": (World.cut_off, World.heal),
    "cut off from etcd": (_cut_from_etcd, World.heal),
    "drained": (_drain, _end_drain),
    "routers disagree": (_disagree, _agree),
}


@dataclass(frozen=True)
class Plan:
    """What is simulated.

    Each kata has `avatars`, who press `presses` times each, with a mean of `think_seconds` between.
    Katas are created during the first `create_seconds`. Of the avatars, the part that is `resting`
    pauses in the middle for `rest_seconds`. A fault begins about every `fault_seconds`; `None`:
    there are none.
    """

    machines: int = 5
    katas: int = 30
    avatars: int = 2
    presses: int = 12
    think_seconds: float = 4.0
    create_seconds: float = 20.0
    rest_seconds: float = 130.0
    resting: float = 0.4
    fault_seconds: float | None = 6.0
    lasts_seconds: float = 12.0
    added: int = 1
    give_up: float = 0.01
    messages: Faults = field(default_factory=lambda: Faults(1000, 1000, 1000))
    disk_failures: int = 500
    news_seconds: float = 0.05


# Few katas, many people in each, and all the time something fails: what is rare comes often.
HARSH = Plan(
    machines=4,
    katas=5,
    avatars=4,
    presses=40,
    think_seconds=1.0,
    create_seconds=2.0,
    rest_seconds=0.0,
    fault_seconds=2.0,
    lasts_seconds=5.0,
    added=0,
    give_up=0.05,
    messages=Faults(4_000, 4_000, 10_000, 20_000),
    disk_failures=5_000,
)


# Rougher still: each machine fails again and again, and many messages come after their time.
ROUGH = replace(
    HARSH,
    presses=50,
    fault_seconds=0.7,
    lasts_seconds=4.0,
    give_up=0.1,
    messages=Faults(4_000, 4_000, 60_000, 60_000),
)


@dataclass
class Report:
    """What a simulation came to."""

    simulated_seconds: float
    real_seconds: float
    lights: int
    katas: int
    story: str
    faults: dict[str, int]
    messages: dict[str, int]
    refusals: dict[str, int]
    gaps: dict[str, float]
    fetches: int
    most_keys: int
    most_value_bytes: int
    left_records: int
    left_keys: int
    left_keys_archived: int
    spread_before: dict[str, float]
    spread_after: dict[str, float]
    mirror_bytes: int
    switches: int


class Simulation:
    """One simulation of a plan, which a seed decides."""

    def __init__(self, plan: Plan, folder: Path, seed: int) -> None:
        self.plan = plan
        self.world = World(folder, seed)
        self.world.network.faults = plan.messages
        self.world.disk_failures = plan.disk_failures
        self.world.etcd.news_seconds = plan.news_seconds
        self._chance = self.world.chance
        self._names = [f"n{number:03}" for number in range(plan.machines)]
        self._ids = [f"{number:010X}" for number in range(plan.katas)]
        self._ill: set[str] = set()
        self._practising = 0
        self._is_over = False
        self._happened: dict[str, int] = {}

    def run(self) -> Report:
        """Simulate, and check all the way. Raises Violation."""
        begun = time.monotonic()
        with self.world as world:
            for name in self._names:
                world.add_machine(name)
            world.run(5)
            for kata_id in self._ids:
                self._spawn(lambda kata_id=kata_id: self._practise(kata_id), self._some_time())  # type: ignore[misc]
            if self.plan.fault_seconds is not None:
                self._spawn(self._fail)
            self._until_all_have_practised()
            spread_before = self._spread()
            self._is_over = True
            self._end_faults()
            self._read_all()
            return self._report(time.monotonic() - begun, spread_before)

    def _some_time(self) -> float:
        return self._chance.uniform(0, self.plan.create_seconds)

    def _practise(self, kata_id: str) -> None:
        self.world.create(kata_id)
        for avatar in ("whale", "lion", "bear", "wolf")[: self.plan.avatars]:
            self._practising += 1
            self._spawn(lambda avatar=avatar: self._press(kata_id, avatar))  # type: ignore[misc]

    def _press(self, kata_id: str, avatar: str) -> None:
        plan, world = self.plan, self.world
        rests = plan.rest_seconds > 0 and self._chance.random() < plan.resting
        for number in range(plan.presses):
            gives_up = self._chance.random() < plan.give_up
            world.press(kata_id, avatar, number, gives_up=gives_up)
            if self._chance.random() < 0.1:
                world.read(kata_id)
            pause = self._chance.expovariate(1 / plan.think_seconds)
            if rests and number == plan.presses // 2:
                pause += plan.rest_seconds
            world.scheduler.sleep(pause)
        self._practising -= 1

    def _until_all_have_practised(self) -> None:
        world, plan = self.world, self.plan
        world.run(plan.create_seconds + 10)
        for number in range(plan.added):
            world.add_machine(f"new{number:03}")
        for _ in range(1000):
            if not self._practising:
                return
            world.run(10)
        raise Violation(f"{self._practising} avatars are not answered")

    def _fail(self) -> None:
        """Have something happen to a machine again and again, for a while each."""
        world, plan = self.world, self.plan
        assert plan.fault_seconds is not None
        while not self._is_over:
            world.scheduler.sleep(self._chance.expovariate(1 / plan.fault_seconds))
            fault = self._chance.choice([*FAULTS])
            name = self._chance.choice([*world.machines])
            most_ill = len(world.machines) * (1 - _LEAST_WELL)
            if self._is_over or name in self._ill or len(self._ill) >= most_ill:
                continue
            self._ill.add(name)
            self._happened[fault] = self._happened.get(fault, 0) + 1
            begin, end = FAULTS[fault]
            begin(world, name)
            seconds = self._chance.expovariate(1 / plan.lasts_seconds)
            world.scheduler.call_later(seconds, lambda end=end, name=name: self._end(end, name))  # type: ignore[misc]

    def _end(self, end: Callable[[World, str], object], name: str) -> None:
        if name in self._ill:
            self._ill.discard(name)
            end(self.world, name)

    def _end_faults(self) -> None:
        world = self.world
        world.network.faults = Faults()
        world.disk_failures = 0
        for router in world.routers:
            router.salt = ""
        for name in list(world.machines):
            world.heal(name)
            world.thaw(name)
            _end_drain(world, name)
            if world.storer(name) is None:
                world.start(name)
        self._ill.clear()
        world.run(_SETTLE_SECONDS)

    def _read_all(self) -> None:
        """Read every kata: all that etcd took has to be there, and no more."""
        world = self.world
        left = list(self._ids)
        reading = 0

        def read() -> None:
            nonlocal reading
            while left:
                world.read(left.pop(), is_last=True)
            reading -= 1

        for _ in range(_READERS):
            reading += 1
            self._spawn(read)
        while reading:
            world.run(5)

    def _archive_all(self) -> None:
        """Archive all katas, as if nobody had used them for long."""
        world = self.world

        def archive(name: str) -> None:
            storer = world.storer(name)
            assert storer is not None
            for _ in range(5):
                for kata_id in storer.installation.own_ids():
                    try:
                        with storer.using(kata_id, importing=False):
                            pass
                        storer.archive_idle(kata_id)
                    except DojoError as error:
                        world.counts[f"not archived: {type(error).__name__}"] += 1
                world.scheduler.sleep(2)

        for name in world.machines:
            process = world.machines[name].storer.process  # type: ignore[union-attr]
            world.scheduler.spawn(lambda name=name: archive(name), process)  # type: ignore[misc]
        world.run(60)

    def _spawn(self, work: Callable[[], object], seconds: float = 0) -> None:
        self.world.scheduler.spawn(work, seconds=seconds)

    def _spread(self) -> dict[str, float]:
        """Return what the machines with the most katas and the fewest have, of the mean."""
        counts = self.world.judge.spread(self.world.machines)
        mean = max(1, sum(counts.values())) / len(counts)
        new = [count for name, count in counts.items() if name.startswith("new")]
        return {
            "most": max(counts.values()) / mean,
            "least": min(counts.values()) / mean,
            "new": sum(new) / len(new) / mean if new else 0.0,
        }

    def _report(self, real_seconds: float, spread_before: dict[str, float]) -> Report:
        world, store = self.world, self.world.etcd.store
        records = store.entries(b"/sim/kata/")
        keys = len(store)
        spread_after = self._spread()
        mirror = next(iter(world.machines.values())).storer.installation.owners._known  # type: ignore[union-attr]
        mirror_bytes = _bytes_of(mirror._known)
        self._archive_all()
        gaps = sorted(world.judge.gaps)
        return Report(
            simulated_seconds=world.scheduler.now,
            real_seconds=real_seconds,
            lights=world.judge.acknowledged.total(),
            katas=len(self._ids),
            story=world.judge.story.hexdigest(),
            faults=dict(sorted(self._happened.items())),
            messages=dict(sorted(world.network.counts.items())),
            refusals=dict(sorted(world.counts.items())),
            gaps={
                "p50": _percentile(gaps, 50),
                "p99": _percentile(gaps, 99),
                "p99.9": _percentile(gaps, 99.9),
                "longest": gaps[-1],
            },
            fetches=world.counts["fetches"],
            most_keys=world.most_keys,
            most_value_bytes=world.most_records_bytes,
            left_records=len(records),
            left_keys=keys,
            left_keys_archived=len(store),
            spread_before=spread_before,
            spread_after=spread_after,
            mirror_bytes=mirror_bytes,
            switches=world.scheduler.switches,
        )


def _percentile(values: Sequence[float], percent: float) -> float:
    return values[min(len(values) - 1, int(len(values) * percent / 100))]


def _bytes_of(known: Mapping[str, tuple[bytes, int]]) -> int:
    """Return how much memory a mirror takes that is the only one in its process."""
    total = known.__sizeof__()
    for name, value in known.items():
        total += sum(each.__sizeof__() for each in (name, value, *value))
    return total
