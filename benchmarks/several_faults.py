"""What it costs that a machine of three is lost: how long calls wait, and katas taken over."""

from collections.abc import Iterator
from contextlib import closing
from functools import partial

import grpc

from benchmarks import several
from benchmarks.figures import Figure, percentile, table
from benchmarks.places import Place
from benchmarks.several import OTHER, OWNER, Machines
from benchmarks.storer_calls import ms
from cyberdojo.storer.v1 import storer_pb2
from support.machines.practice import Practice
from support.services import wait_until

KATAS, LIGHTS = 40, 36

# People who practise while a machine is lost, in four katas.
_KATAS, _AVATARS = 4, 5
_MORE = 20  # lights of each before, and after

_LOST = "n3"


def measure(_: Place, scale: float) -> Iterator[Figure]:
    """Print tables; yield the figures."""
    with several.three_machines() as machines:
        yield from _gap(machines)
        yield from _taking_over(machines, max(5, round(KATAS * scale)))


def _gap(machines: Machines) -> Iterator[Figure]:
    """Measure the longest wait for an answer, without and with the loss of a machine."""
    installation = machines.installation
    address = installation.router.address("storer")
    with closing(Practice([address], katas=_KATAS, avatars=_AVATARS)) as practice:
        practice.wait_for(_MORE)
        before = practice.longest_gap_seconds()
        installation.lose(_LOST)
        practice.wait_for(_MORE, seconds=120)
        practice.stop()
        after = practice.longest_gap_seconds()
    installation.bring_back(_LOST)
    installation.wait_until_up()
    rows = [("without a loss", before), ("with the loss of a machine", after)]
    columns = ("the longest wait of 20 people for a light", "s")
    print(table("A machine is lost", columns, rows), flush=True)
    yield Figure("longest gap after the loss of a machine", after, "s", "<=", 10)


def _taking_over(machines: Machines, count: int) -> Iterator[Figure]:
    """Measure the first call for katas whose machine was lost, and bringing one back on one."""
    installation = machines.installation
    alone = machines.start_alone_storer()
    single = machines.storer(alone.address)
    fetches = []
    for _ in range(max(5, count // 4)):
        kata_id = several.new_kata(single)
        for _ in range(LIGHTS):
            single.RecordTest(several.a_light(kata_id))
        single.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=kata_id))
        fetches.append(
            ms(partial(single.ImportKata, storer_pb2.ImportKataRequest(kata_id=kata_id)))
        )
    alone.stop()
    owner = machines.storer(installation.address(OWNER))
    kata_ids = [several.new_kata(owner) for _ in range(count)]
    for kata_id in kata_ids:
        for _ in range(LIGHTS):
            owner.RecordTest(several.a_light(kata_id))
    member = installation.etcd.members[OTHER]
    prefix = f"/{installation.name}/kata/"
    wait_until(lambda: member.count(prefix) == 0)  # the archive has all
    for kata_id in kata_ids[::2]:  # and of every other one etcd has a light
        owner.RecordTest(several.a_light(kata_id))
    installation.lose(OWNER)
    other = machines.storer(installation.address(OTHER))
    wait_until(lambda: _answers(other, kata_ids[0]))
    times = [ms(partial(other.RecordTest, several.a_light(each))) for each in kata_ids[1:]]
    rows = [
        (name, *(percentile(each, percent) for percent in (50, 90, 99)), len(each))
        for name, each in (
            (f"the first light after the loss, in a kata of {LIGHTS}", times),
            ("one machine: a kata comes back from the archive", fetches),
        )
    ]
    print(table("A kata is taken over", ("ms", "p50", "p90", "p99", "katas"), rows), flush=True)
    yield Figure("kata taken over, p50", percentile(times, 50), "ms", "<=", 300)
    yield Figure("kata taken over, p99", percentile(times, 99), "ms")
    yield Figure(
        "kata taken over, against one machine's archive, p50",
        percentile(times, 50) / percentile(fetches, 50),
        "",
    )


def _answers(stub: object, kata_id: str) -> bool:
    """Say whether a machine records a light of a kata."""
    try:
        stub.RecordTest(several.a_light(kata_id), timeout=10)  # type: ignore[attr-defined]
    except grpc.RpcError:
        return False
    return True
