"""What one etcd of three members takes: lights a second, and bytes of each, by the real ledger."""

import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

from benchmarks import several
from benchmarks.figures import Figure, percentile, table
from benchmarks.places import Place
from benchmarks.storer_calls import ms
from dojo.etcd.client import Etcd, delete_prefix, put
from storer.archive.editions import AloneEditions
from storer.archive.location import open_archive
from storer.cluster.keys import RecordKeys
from storer.cluster.ledger import SharedLedger
from storer.cluster.owners import Owners
from storer.cluster.records import Records
from storer.fs.write_ahead_log import Entry
from storer.kata.edit import At
from support.machines.etcd_cluster import EtcdCluster

KATAS, LIGHTS = 16, 200
AVATAR = "whale"
_BYTES = 5 * 1024

_KIB = 1024


def measure(_: Place, scale: float) -> Iterator[Figure]:
    """Print tables; yield the figures."""
    count = max(10, round(LIGHTS * scale))
    with several.fleet() as (fleet, folder):
        cluster = EtcdCluster(fleet.start_hosts("n1", "n2", "n3"))
        cluster.start()
        with closing(Etcd(cluster.addresses)) as client:
            yield from _measure(client, cluster, folder, count)


def _measure(client: Etcd, cluster: EtcdCluster, folder: Path, count: int) -> Iterator[Figure]:
    keys = RecordKeys("bench")
    owners = Owners(client, keys, "n1", lambda _: None)
    owners.start()
    archive = open_archive(str(folder / "archive"), "bench", AloneEditions(1))
    ledger = SharedLedger(client, keys, owners, Records(archive))
    kata_ids = [f"{number:010X}" for number in range(KATAS)]
    total = KATAS * count

    def claim(kata_id: str) -> None:
        held = owners.create(kata_id, [])
        if held is None:
            raise RuntimeError("there is such a kata")
        held.is_here = True

    def keep(kata_id: str, number: int) -> None:
        entry = Entry(number, secrets.token_hex(20), {secrets.token_hex(20): _content()})
        ledger.keep_entry(kata_id, AVATAR, entry)

    def put_bare(kata_id: str, number: int) -> None:
        client.transact([], [put(f"/bare/{kata_id}/{number}".encode(), _content())])

    for kata_id in kata_ids:
        claim(kata_id)
    bare = _together(kata_ids, count, put_bare)
    client.transact([], [delete_prefix(b"/bare/")])
    before = _sizes(cluster)
    lights = _together(kata_ids, count, keep)
    after = _sizes(cluster)
    trims = [
        ms(partial(ledger.trim, kata_id, owners.here(kata_id).token, {AVATAR: At(count)}, ""))
        for kata_id in kata_ids
    ]
    _forget_history(client, cluster)
    trimmed = _sizes(cluster)
    owners.stop()
    rows = [
        (name, len(times) / seconds, *(percentile(times, percent) for percent in (50, 99)))
        for name, (times, seconds) in (
            ("lights of 5 KB, by the ledger", lights),
            ("transactions of 5 KB without a condition", bare),
        )
    ]
    columns = (f"{KATAS} at once, {total} each", "a second", "p50 ms", "p99 ms")
    print(table("One etcd of three members", columns, rows), flush=True)
    each = {
        name: (after[name] - before[name]) / total / _KIB for name in ("database", "log", "disk")
    }
    rows = [
        ("in the database of each member, until it is trimmed and compacted", each["database"]),
        ("in the log of each member (raft)", each["log"]),
        ("written to the disk of each member", each["disk"]),
    ]
    print(table("A light of 5 KB in etcd", ("", "KiB"), rows), flush=True)
    yield Figure("etcd, lights of 5 KB a second", len(lights[0]) / lights[1], "/s")
    against = (len(lights[0]) / lights[1]) / (len(bare[0]) / bare[1])
    yield Figure("etcd, lights a second, against bare transactions", against, "")
    yield Figure("etcd, database for a light of 5 KB", each["database"], "KiB")
    yield Figure("etcd, log for a light of 5 KB", each["log"], "KiB")
    yield Figure("etcd, disk written for a light of 5 KB", each["disk"], "KiB")
    yield Figure("etcd, trimming, for each light", sum(trims) / total, "ms")
    yield Figure(
        "etcd, database in use, all trimmed and compacted", trimmed["in use"] / _KIB, "KiB"
    )


def _content() -> bytes:
    return secrets.token_bytes(_BYTES - 100)  # the rest is what an entry has besides


def _together(
    kata_ids: list[str], count: int, call: Callable[[str, int], None]
) -> tuple[list[float], float]:
    """Make `count` calls for each kata, all katas at once; return the milliseconds, and seconds."""
    times: list[float] = []

    def work(kata_id: str) -> None:
        times.extend(ms(partial(call, kata_id, number)) for number in range(count))

    begun = time.monotonic()
    with ThreadPoolExecutor(len(kata_ids)) as threads:
        list(threads.map(work, kata_ids))
    return times, time.monotonic() - begun


def _sizes(cluster: EtcdCluster) -> dict[str, float]:
    """Return the mean bytes of a member: its database, what of it is in use, log and disk."""
    found = dict.fromkeys(("database", "in use", "log", "disk"), 0.0)
    for member in cluster.members.values():
        metrics = member.metrics()
        found["database"] += metrics["etcd_mvcc_db_total_size_in_bytes"]
        found["in use"] += metrics["etcd_mvcc_db_total_size_in_use_in_bytes"]
        found["log"] += metrics.get("etcd_disk_wal_write_bytes_total", 0.0)
        found["disk"] += member.written_bytes()
    return {name: value / len(cluster.members) for name, value in found.items()}


def _forget_history(client: Etcd, cluster: EtcdCluster) -> None:
    """Have etcd forget what was: it does by itself every five minutes."""
    _, revision = client.entries(b"/none/")
    cluster.leader().call("kv/compaction", {"revision": str(revision), "physical": True})
