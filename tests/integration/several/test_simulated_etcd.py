"""The simulated etcd answers as the real one does: both get the same random operations."""

import random
from collections.abc import Iterator
from contextlib import closing

import grpc
import pytest

from dojo.etcd import rpc_pb2
from dojo.etcd.client import (
    MAX_CHANGES,
    Entry,
    Etcd,
    Event,
    OutcomeUnknown,
    delete,
    delete_prefix,
    delete_range,
    is_absent,
    is_unchanged,
    put,
)
from support.machines import etcd as etcd_process
from support.simulation.etcd_store import EtcdStore, LeaseNotFound, RefusedRequest

OPERATIONS = 1500

PREFIXES = [b"/t/", b"/t/owner/", b"/t/kata/", b"/t/kata/A/", b"/t/kata/A/light/", b"/t/node/"]
KEYS = [
    *(b"/t/owner/%d" % number for number in range(4)),
    *(b"/t/kata/%s/%s" % (kata, name) for kata in (b"A", b"B") for name in (b"base", b"options")),
    *(b"/t/kata/A/light/%s/%d" % (avatar, number) for avatar in (b"x", b"y") for number in (0, 1)),
    b"/t/kata/A/light/x/1/more",
    b"/t/node/n1",
    b"/t",
]

REFUSED, NO_LEASE = "refused", "no lease"


class Real:
    """A real etcd, as `Simulated` is a simulated one."""

    def __init__(self, client: Etcd) -> None:
        self.client = client

    def get(self, key: bytes) -> Entry | None:
        return self.client.get(key)

    def entries(self, prefix: bytes) -> tuple[list[Entry], int]:
        return self.client.entries(prefix)

    def transact(
        self, conditions: list[rpc_pb2.Compare], changes: list[rpc_pb2.RequestOp]
    ) -> int | str | None:
        try:
            return self.client.transact(conditions, changes)
        except grpc.RpcError as error:
            return REFUSED if error.code() is grpc.StatusCode.INVALID_ARGUMENT else str(error)
        except OutcomeUnknown as error:
            return NO_LEASE if "lease not found" in str(error) else str(error)

    def end_lease(self, lease: int) -> None:
        self.client.revoke(lease)


class Simulated:
    """A simulated etcd."""

    def __init__(self) -> None:
        self.store = EtcdStore()

    def get(self, key: bytes) -> Entry | None:
        return self.store.get(key)

    def entries(self, prefix: bytes) -> tuple[list[Entry], int]:
        return self.store.entries(prefix), self.store.revision

    def transact(
        self, conditions: list[rpc_pb2.Compare], changes: list[rpc_pb2.RequestOp]
    ) -> int | str | None:
        try:
            return self.store.transact(conditions, changes)
        except RefusedRequest:
            return REFUSED
        except LeaseNotFound:
            return NO_LEASE

    def end_lease(self, lease: int) -> None:
        self.store.end_lease(lease)


@pytest.fixture
def real(own_etcd: etcd_process.Etcd) -> Iterator[Real]:
    with closing(Etcd([own_etcd.address])) as client:
        yield Real(client)


def a_condition(chance: random.Random, known: dict[bytes, int]) -> rpc_pb2.Compare:
    key = chance.choice(KEYS)
    if chance.random() < 0.4:
        return is_absent(key)
    # Mostly as it is, as the conditions of owners are.
    revision = known.get(key, 0) if chance.random() < 0.8 else chance.randrange(100)
    return is_unchanged(key, revision)


def a_change(chance: random.Random, leases: list[int | None]) -> rpc_pb2.RequestOp | int:
    """Return a change; for a key with a lease, which of the leases."""
    match chance.randrange(8):
        case 0:
            return delete(chance.choice(KEYS))
        case 1:
            return delete_prefix(chance.choice(PREFIXES))
        case 2:
            begin, end = sorted(chance.sample(KEYS, 2))
            return delete_range(begin, end)
        case 3 if leases:
            return chance.randrange(len(leases))
        case _:
            return put(chance.choice(KEYS), b"%d" % chance.randrange(1000))


def test_random_operations_have_the_same_results(real: Real) -> None:
    simulated = Simulated()
    chance = random.Random(24)  # noqa: S311 - the same operations in each run
    leases: list[tuple[int, int]] = []
    results: dict[str, int] = {}
    begun = real.entries(b"/t/")[1]
    assert begun == simulated.store.revision
    for _ in range(OPERATIONS):
        known = {each.key: each.revision for each in simulated.entries(b"/t")[0]}
        match chance.randrange(10):
            case 0:
                key = chance.choice(KEYS)
                assert real.get(key) == simulated.get(key)
            case 1:
                prefix = chance.choice(PREFIXES)
                assert real.entries(prefix) == simulated.entries(prefix)
            case 2:
                leases.append((real.client.grant(600), simulated.store.grant()))
            case 3 if leases:
                # Some of them twice, and some are used afterwards.
                theirs, ours = chance.choice(leases)
                real.end_lease(theirs)
                simulated.end_lease(ours)
            case _:
                conditions = [a_condition(chance, known) for _ in range(chance.randrange(3))]
                chosen = [
                    a_change(chance, [lease for lease, _ in leases])
                    for _ in range(chance.randrange(4))
                ]
                key = chance.choice(KEYS)
                changes = [
                    [
                        put(key, b"leased", leases[each][which]) if isinstance(each, int) else each
                        for each in chosen
                    ]
                    for which in (0, 1)
                ]
                found = real.transact(conditions, changes[0])
                assert found == simulated.transact(conditions, changes[1]), (conditions, changes)
                kind = found if isinstance(found, str) else "no" if found is None else "yes"
                results[kind] = results.get(kind, 0) + 1
    assert real.entries(b"/t") == simulated.entries(b"/t")
    assert set(results) == {"yes", "no", REFUSED, NO_LEASE}
    for prefix in PREFIXES:
        expected = simulated.store.events(prefix, begun)
        assert expected
        found_events = watched(real.client, prefix, begun, len(expected))
        # Changes of one transaction are in no order.
        assert sorted(found_events, key=in_order) == sorted(expected, key=in_order)


def in_order(event: Event) -> tuple[int, bytes]:
    return event.revision, event.key


def watched(client: Etcd, prefix: bytes, revision: int, count: int) -> list[Event]:
    """Return the first changes after a revision, as a watch tells them."""
    found: list[Event] = []
    for events in client.watch(prefix, revision):
        found += events
        if len(found) >= count:
            return found
    raise AssertionError("the watch ended")


def test_a_transaction_with_too_many_changes_is_refused_by_both(real: Real) -> None:
    for count, is_refused in ((MAX_CHANGES, False), (MAX_CHANGES + 1, True)):
        changes = [put(b"/t/%d" % number, b"") for number in range(count)]
        conditions = [is_absent(b"/t/%d" % number) for number in range(count)]
        for each in (real, Simulated()):
            assert (each.transact([], changes) == REFUSED) is is_refused
            assert (each.transact(conditions, []) == REFUSED) is is_refused


def test_a_key_that_is_set_and_deleted_at_once_is_refused_by_both(real: Real) -> None:
    key = b"/t/kata/A/base"
    deletions = [delete(key), delete_prefix(b"/t/kata/A/"), delete_range(b"/t/", key + b"\0")]
    for each in (real, Simulated()):
        for deletion in deletions:
            assert each.transact([], [deletion, put(key, b"")]) == REFUSED
            assert each.transact([], [put(key, b""), deletion]) == REFUSED
        assert each.transact([], [delete_range(b"/t/", key), put(key, b"")]) == 2
