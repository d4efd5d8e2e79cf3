"""What it costs a call that its machine is one of three: RecordTest of 5 KB, and a warm run."""

import contextlib
import os
import random
import secrets
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from benchmarks import several
from benchmarks.figures import Figure, percentile, table
from benchmarks.places import TRUE, Place, request
from benchmarks.several import OTHER, OWNER, Machines
from benchmarks.storer_calls import TURN, ms
from cyberdojo.runner.v1 import runner_pb2, runner_pb2_grpc
from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from dojo.etcd.client import Etcd, is_unchanged, put
from dojo.service.forwarding import KATA_KEY
from support.services import Service

TURNS = 40
WATCHES = 1000
_WATCHED_LIGHTS = 30
KATAS = 6

ALONE = "one machine, without etcd"
AT_OWNER = "three machines, by the one that owns the kata"
FORWARDED = "three machines, by another one, which sends it on"
ROUTED = "three machines, by the router"
TRANSACTION = "etcd alone: a fenced transaction of 5 KB"
SYNC = "the disk alone: 5 KB and fdatasync"

_BYTES = 5 * 1024


def measure(place: Place, scale: float) -> Iterator[Figure]:
    """Print tables; yield the figures."""
    with several.three_machines() as machines:
        alone = machines.start_alone_storer()
        yield from _watches(machines, alone, max(20, round(WATCHES * scale)))
        yield from _records(machines, max(KATAS, round(TURNS * scale)))
        yield from _runs(machines, place, max(10, round(10 * TURNS * scale)))


def _records(machines: Machines, turns: int) -> Iterator[Figure]:
    """Measure RecordTest: the ways take turns, ten calls each, in six katas of each."""
    installation = machines.installation
    stubs = {
        ALONE: machines.storer(f"{installation.nodes[OWNER].address}:4677"),
        AT_OWNER: machines.storer(installation.address(OWNER)),
        FORWARDED: machines.storer(installation.address(OTHER)),
        ROUTED: machines.storer(installation.router.address("storer")),
    }
    katas = {
        name: [several.new_kata(stubs[ALONE if name == ALONE else AT_OWNER]) for _ in range(KATAS)]
        for name in stubs
    }
    with contextlib.ExitStack() as stack:
        etcd = Etcd([installation.etcd.members[OWNER].address])
        stack.callback(etcd.close)
        ways: dict[str, Callable[[int], object]] = {
            name: partial(_record, stub, katas[name]) for name, stub in stubs.items()
        }
        ways[TRANSACTION] = _transactions(etcd)
        ways[SYNC] = stack.enter_context(_syncs(machines.folder / "synced"))
        times = _in_turns(ways, turns)
    _print(f"RecordTest of 5 KB, {turns * TURN} calls each", times)
    for name, short in (
        (ALONE, "one machine"),
        (AT_OWNER, "three machines"),
        (FORWARDED, "three machines, sent on"),
        (TRANSACTION, "etcd's part"),
    ):
        p50, p99 = (percentile(times[name], percent) for percent in (50, 99))
        is_target = name == AT_OWNER
        figure = f"RecordTest of 5 KB, {short}"
        yield Figure(f"{figure}, p50", p50, "ms", *(("<=", 5) if is_target else ()))
        yield Figure(f"{figure}, p99", p99, "ms", *(("<=", 25) if is_target else ()))


def _record(stub: storer_pb2_grpc.StorerServiceStub, katas: list[str], turn: int) -> object:
    return stub.RecordTest(
        several.a_light(katas[turn % KATAS]),
        metadata=((KATA_KEY, katas[turn % KATAS]),),
    )


def _watches(machines: Machines, alone: Service, count: int) -> Iterator[Figure]:
    """Measure what a watch takes of a storer that is alone: memory, and processor time of news."""
    stub = machines.storer(alone.address)
    kata_id = several.new_kata(stub)
    for _ in range(_WATCHED_LIGHTS):
        stub.RecordTest(several.a_light(kata_id))
    unwatched = _processor_ms(alone, stub, kata_id)
    before = _resident_bytes(alone)
    watches = [stub.WatchKata(storer_pb2.WatchKataRequest(kata_id=kata_id)) for _ in range(count)]
    for watch in watches:
        next(iter(watch))
    memory = (_resident_bytes(alone) - before) / count / 1024
    watched = _processor_ms(alone, stub, kata_id)
    for watch in watches:
        watch.cancel()
    each = (watched - unwatched) / count * 1000
    rows = [("memory, KiB", memory), ("processor time to tell it of a light, µs", each)]
    print(table(f"A watch, of {count} at once", ("", "each"), rows), flush=True)
    yield Figure("a watch, memory of the storer", memory, "KiB")
    yield Figure("a watch, processor time of each light", each, "µs")
    yield Figure("RecordTest of 5 KB, processor time of the storer", unwatched, "ms")


def _processor_ms(service: Service, stub: storer_pb2_grpc.StorerServiceStub, kata_id: str) -> float:
    """Return the milliseconds of processors that the storer takes for a light."""
    before = _processor_seconds(service)
    for _ in range(_WATCHED_LIGHTS):
        stub.RecordTest(several.a_light(kata_id))
    time.sleep(1)  # so that all watches were told, and the archive
    return (_processor_seconds(service) - before) / _WATCHED_LIGHTS * 1000


def _processor_seconds(service: Service) -> float:
    fields = Path(f"/proc/{service.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # proc(5)


def _resident_bytes(service: Service) -> int:
    pages = int(Path(f"/proc/{service.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _transactions(etcd: Etcd) -> Callable[[int], object]:
    """Return what writes 5 KB to a key of its own, if another key is unchanged."""
    token = etcd.transact([], [put(b"/bench/owner", b"n1")])
    if token is None:
        raise RuntimeError("etcd refused a transaction without conditions")
    condition = is_unchanged(b"/bench/owner", token)

    def transact(_: int) -> None:
        key = b"/bench/light/" + secrets.token_hex(8).encode()
        if etcd.transact([condition], [put(key, secrets.token_bytes(_BYTES))]) is None:
            raise RuntimeError("etcd refused a transaction whose condition holds")

    return transact


@contextlib.contextmanager
def _syncs(path: Path) -> Iterator[Callable[[int], object]]:
    """Yield what writes 5 KB to a file that has its size already, and waits for the disk."""
    with path.open("wb") as file:
        file.write(bytes(_BYTES))
        file.flush()
        os.fsync(file.fileno())

        def sync(_: int) -> None:
            os.pwrite(file.fileno(), secrets.token_bytes(_BYTES), 0)
            os.fdatasync(file.fileno())

        yield sync


def _in_turns(ways: Mapping[str, Callable[[int], object]], turns: int) -> dict[str, list[float]]:
    """Return the milliseconds of each way."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns):
        for name in random.sample(list(ways), len(ways)):
            os.sync()  # so that none writes what another left in the page cache
            times[name] += [ms(partial(ways[name], turn)) for _ in range(TURN)]
    return times


def _runs(machines: Machines, place: Place, rounds: int) -> Iterator[Figure]:
    """Measure warm runs of `true` by a runner of the three, and by one that is alone, in turn."""
    installation = machines.installation
    node = installation.nodes[OWNER]
    node.load(place.engine, TRUE.image_name)
    installation.start_runner(OWNER)
    machines.start_alone("runner", CYBER_DOJO_STORER=f"{node.address}:4677")
    stubs = {
        ALONE: (
            machines.storer(f"{node.address}:4677"),
            machines.runner(f"{node.address}:4697"),
        ),
        AT_OWNER: (
            machines.storer(installation.address(OWNER)),
            machines.runner(installation.address(OWNER, "runner")),
        ),
    }
    runs = {
        name: partial(_run, runner, several.new_kata(storer))
        for name, (storer, runner) in stubs.items()
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name in random.sample(list(runs), len(runs)):
            times[name].append(runs[name]())
    _print(f"A warm run of true, {rounds} each", times)
    more = statistics.median(times[AT_OWNER]) - statistics.median(times[ALONE])
    yield Figure("warm run, three machines less one machine, p50", more, "ms", "<=", 0.5)


def _run(runner: runner_pb2_grpc.RunnerServiceStub, kata_id: str) -> float:
    key = {"kata_id": kata_id, "avatar": several.AVATAR, "image_name": TRUE.image_name}
    if not runner.Prepare(runner_pb2.PrepareRequest(**key)).waiting:
        raise RuntimeError("the runner has no warm container for the next run")
    return ms(partial(runner.Run, request(kata_id, several.AVATAR, TRUE)))


def _print(title: str, times: Mapping[str, list[float]]) -> None:
    rows = [
        (name, *(percentile(each, percent) for percent in (50, 90, 99)), len(each))
        for name, each in times.items()
    ]
    print(table(title, ("ms", "p50", "p90", "p99", "calls"), rows), flush=True)
