"""A kata has one owner at a time, and what a former owner writes is refused."""

import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from dojo.errors import ArchiveUnavailable, EtcdUnavailable, KataMoved, KataNotFound
from dojo.etcd.client import Etcd, OutcomeUnknown, put
from storer.archive.directory_store import DirectoryStore
from storer.archive.stored_archive import StoredArchive
from storer.cluster.editions import Editions
from storer.cluster.keys import RecordKeys
from storer.cluster.ledger import SharedLedger
from storer.cluster.owners import Held, Owners
from storer.cluster.records import Records
from storer.fs.write_ahead_log import Entry
from storer.kata.edit import At
from support.machines import etcd as etcd_process
from support.services import wait_until

KATA = "493A06504A"


class Machine:
    """The owners as one machine knows them, and the katas that it was told it had lost."""

    def __init__(self, etcd: Etcd, keys: RecordKeys, name: str) -> None:
        self.etcd = etcd
        self.keys = keys
        self.lost: list[str] = []
        self.owners = Owners(etcd, keys, name, self.lost.append)
        self.owners.start()

    def claim(self) -> Held:
        return self.owners.claim(KATA, lambda: True)

    def write(self, value: bytes) -> int:
        held = self.owners.held(KATA)
        return self.owners.write(KATA, held, [put(self.keys.options(KATA), value)])

    def ledger(self, archive: Path) -> SharedLedger:
        records = Records(StoredArchive(DirectoryStore(archive), "test"))
        return SharedLedger(self.etcd, self.keys, self.owners, records)

    def written(self) -> bytes | None:
        found = self.etcd.get(self.keys.options(KATA))
        return None if found is None else found.value


@pytest.fixture
def make_machine() -> Iterator[Callable[[etcd_process.Etcd, str], Machine]]:
    """Makes a machine of this test's installation, in an etcd."""
    keys = RecordKeys(f"test-{secrets.token_hex(4)}")
    made: list[Machine] = []

    def make(process: etcd_process.Etcd, name: str) -> Machine:
        made.append(Machine(Etcd([process.address]), keys, name))
        return made[-1]

    yield make
    for machine in made:
        machine.owners.stop()
        machine.etcd.close()


@pytest.fixture
def machines(
    make_machine: Callable[[etcd_process.Etcd, str], Machine], etcd: etcd_process.Etcd
) -> tuple[Machine, Machine]:
    return make_machine(etcd, "n0"), make_machine(etcd, "n1")


def test_a_kata_without_an_owner_is_claimed_if_it_exists(
    machines: tuple[Machine, Machine],
) -> None:
    first, second = machines
    with pytest.raises(KataNotFound):
        first.owners.claim(KATA, lambda: False)
    held = first.claim()
    assert held.was_free
    assert first.owners.owner(KATA) == "n0"
    wait_until(lambda: second.owners.owner(KATA) == "n0")
    assert second.owners.ids() == [KATA]


def test_a_former_owner_writes_nothing_and_is_told(machines: tuple[Machine, Machine]) -> None:
    first, second = machines
    first.claim()
    first.write(b"first")
    held = second.claim()
    assert held.before is None
    second.write(b"second")
    with pytest.raises(KataMoved):
        first.write(b"late")
    assert second.written() == b"second"
    wait_until(lambda: first.lost == [KATA] or first.owners.held(KATA) is None)
    assert first.owners.owner(KATA) == "n1"


@pytest.mark.parametrize("lives", [True, False])
def test_who_had_to_wait_for_etcd_takes_no_kata_from_a_machine_that_lives(
    make_machine: Callable[[etcd_process.Etcd, str], Machine],
    own_etcd: etcd_process.Etcd,
    *,
    lives: bool,
) -> None:
    first, second = make_machine(own_etcd, "n0"), make_machine(own_etcd, "n1")
    token = first.claim().token
    if lives:
        first.etcd.transact([], [put(first.keys.node("n0"), b"{}")])
    own_etcd.freeze()
    with ThreadPoolExecutor() as pool:
        claim = pool.submit(second.claim)
        wait_until(lambda: not second.etcd.is_answering)
        own_etcd.thaw()
        if lives:
            with pytest.raises(KataMoved):
                claim.result()
            assert first.write(b"still its own") > token
            assert second.claim().token > token  # one that need not wait
        else:
            assert claim.result().token > token


def test_a_process_that_starts_again_claims_anew_and_knows_its_token(
    machines: tuple[Machine, Machine],
    make_machine: Callable[[etcd_process.Etcd, str], Machine],
    etcd: etcd_process.Etcd,
) -> None:
    first, _ = machines
    token = first.claim().token
    again = make_machine(etcd, "n0")
    held = again.claim()
    assert held.before == token
    assert held.token > token
    with pytest.raises(KataMoved):
        first.write(b"of the process before")


def test_a_new_kata_is_created_once(machines: tuple[Machine, Machine]) -> None:
    first, second = machines
    assert first.owners.create(KATA, [put(first.keys.base(KATA), b"first")])
    assert not second.owners.create(KATA, [put(first.keys.base(KATA), b"second")])
    found = first.etcd.get(first.keys.base(KATA))
    assert found is not None
    assert found.value == b"first"


def test_a_kata_that_is_being_deleted_is_neither_claimed_nor_created(
    machines: tuple[Machine, Machine],
) -> None:
    first, second = machines
    first.etcd.transact([], [put(first.keys.deleted(KATA), b"n0")])
    assert not second.owners.create(KATA, [])
    with pytest.raises(KataNotFound):
        second.claim()


def test_a_change_of_unknown_outcome_is_settled_by_a_new_claim(
    make_machine: Callable[[etcd_process.Etcd, str], Machine], own_etcd: etcd_process.Etcd
) -> None:
    machine = make_machine(own_etcd, "n0")
    token = machine.claim().token
    own_etcd.freeze()
    with pytest.raises(OutcomeUnknown):
        machine.write(b"may happen")
    with pytest.raises(EtcdUnavailable):
        machine.write(b"not before the one before is settled")
    assert machine.claim().is_doubtful  # it can still be read
    own_etcd.thaw()
    wait_until(lambda: machine.etcd.get(b"any") is None)
    held = machine.claim()
    assert held.before == token
    assert not held.is_doubtful
    machine.write(b"after")
    assert machine.written() == b"after"


def test_a_call_that_began_before_another_machine_had_the_kata_keeps_nothing(
    machines: tuple[Machine, Machine], tmp_path: Path
) -> None:
    first, second = machines
    ledgers = [machine.ledger(tmp_path / "archive") for machine in machines]
    entries = [Entry(number, f"{number:040x}", {}) for number in range(3)]
    first.claim().is_here = True
    ledgers[0].keep_entry(KATA, "whale", entries[0])
    second.claim().is_here = True
    ledgers[1].keep_entry(KATA, "whale", entries[1])
    assert ledgers[1].trim(KATA, second.claim().token, {"whale": At(1)}, "") == 2
    wait_until(lambda: first.owners.held(KATA) is None)
    # It owns the kata again, but has not fetched it yet: its light 1 would be another one.
    held = first.claim()
    with pytest.raises(KataMoved):
        ledgers[0].keep_entry(KATA, "whale", entries[1])
    with pytest.raises(KataMoved):
        ledgers[0].trim(KATA, held.token, {"whale": At(9)}, "")
    held.is_here = True
    ledgers[0].keep_entry(KATA, "whale", entries[2])
    assert ledgers[0].read(KATA).entries == {"whale": [entries[2]]}


def test_only_the_owner_whose_copy_the_archive_has_deletes_what_it_covers(
    machines: tuple[Machine, Machine], tmp_path: Path
) -> None:
    first, _ = machines
    ledger = first.ledger(tmp_path / "archive")
    held = first.claim()
    held.is_here = True
    ledger.keep_entry(KATA, "whale", Entry(0, "0" * 40, {}))
    with pytest.raises(KataMoved):
        ledger.trim(KATA, held.token - 1, {"whale": At(0)}, "")
    assert ledger.read(KATA).entries


def test_who_has_lost_a_kata_since_is_told_so(machines: tuple[Machine, Machine]) -> None:
    first, second = machines
    held = first.claim()
    first.owners.check(KATA, held)
    second.claim()
    with pytest.raises(KataMoved):
        first.owners.check(KATA, held)
    assert first.owners.held(KATA) is None


def test_a_kata_is_renewed_without_leaving_its_folder(machines: tuple[Machine, Machine]) -> None:
    first, second = machines
    before = first.claim()
    with pytest.raises(KataMoved):
        first.owners.renew(KATA)
    before.is_here = True
    renewed = first.owners.renew(KATA)
    assert renewed.token > before.token
    assert first.owners.here(KATA) is renewed
    with pytest.raises(KataMoved):
        first.owners.write(KATA, before, [put(first.keys.options(KATA), b"by the old token")])
    first.write(b"by the new one")
    second.claim()
    with pytest.raises(KataMoved):
        first.owners.renew(KATA)


def test_after_a_write_without_an_answer_the_archive_gets_another_edition(
    machines: tuple[Machine, Machine],
) -> None:
    owners = machines[0].owners
    editions = Editions(owners)
    machines[0].claim().is_here = True
    edition = editions.of(KATA)
    editions.unanswered(KATA)
    for _ in range(2):
        with pytest.raises(ArchiveUnavailable):
            editions.of(KATA)
    owners.renew(KATA)
    assert editions.of(KATA) > edition


def test_of_many_that_claim_at_once_one_at_a_time_writes(
    machines: tuple[Machine, Machine],
) -> None:
    written: list[tuple[int, bytes]] = []
    guard = threading.Lock()

    def work(machine: Machine, name: str) -> None:
        for number in range(30):
            value = f"{name} {number}".encode()
            try:
                machine.claim()
                revision = machine.write(value)
            except KataMoved:
                continue
            with guard:
                written.append((revision, value))

    threads = [
        threading.Thread(target=work, args=(machine, name))
        for machine, name in zip(machines, ("n0", "n1"), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert written
    assert machines[0].written() == max(written)[1]
    assert len({revision for revision, _ in written}) == len(written)


def test_news_are_followed_again_after_etcd_was_away(
    make_machine: Callable[[etcd_process.Etcd, str], Machine], own_etcd: etcd_process.Etcd
) -> None:
    first, second = make_machine(own_etcd, "n0"), make_machine(own_etcd, "n1")
    own_etcd.kill()
    own_etcd.start()
    wait_until(lambda: first.etcd.get(b"any") is None)
    first.claim()
    wait_until(lambda: second.owners.owner(KATA) == "n0")


def test_a_list_of_many_keys_is_read_in_pages(etcd: etcd_process.Etcd) -> None:
    prefix = f"/{secrets.token_hex(8)}/".encode()
    with closing(Etcd([etcd.address])) as client:
        for start in range(0, 250, 50):
            client.transact(
                [], [put(b"%s%03d" % (prefix, each), b"x") for each in range(start, start + 50)]
            )
        found, _ = client.entries(prefix)
        assert [each.key for each in found] == [b"%s%03d" % (prefix, each) for each in range(250)]
        keys, _ = client.entries(prefix, keys_only=True)
        assert [each.value for each in keys] == [b""] * 250
