"""Several storers are one: each answers for every kata, and what one acknowledged is never lost."""

import itertools
import os
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from cyberdojo.machines.v1 import machines_pb2, machines_pb2_grpc
from cyberdojo.storer.v1 import storer_pb2
from storer.katas.hand_over import IDLE_SECONDS
from support.machines.etcd import Etcd
from support.services import free_ports, wait_until
from support.storer.backups import backup, restore_into
from support.storer.copies import wait_until_copied
from support.storer.several import Storers
from support.storer.storing import AMBER, FILES, GREEN, RED, Katas, a_manifest, a_test, refused

# What a client does with a call that was not answered: it makes the call again.
ATTEMPTS = 100
AGAIN = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}

DARK = storer_pb2.Options(theme=storer_pb2.THEME_DARK)


def files(number: int) -> dict[str, bytes]:
    """Return the files of a light."""
    return {**FILES, "hiker.c": b"int answer(void) { return %d; }\n" % number}


def status_of(error: Any) -> grpc.StatusCode:
    """Return the status of a call that failed."""
    code: grpc.StatusCode = error.code()
    return code


def record(katas: Katas, kata_id: str, avatar: str, number: int) -> int:
    """Record a test, again until it is acknowledged; return the number of its light."""
    request = a_test(kata_id, avatar, files(number), request_id=f"request-{avatar}-{number:04}")
    for _ in range(ATTEMPTS):
        try:
            return katas.stub.RecordTest(request, timeout=10).light.number
        except grpc.RpcError as error:
            if status_of(error) not in AGAIN:
                raise
    raise AssertionError("nobody records")


def test_a_kata_is_found_completed_listed_and_used_through_any_of_them(storers: Storers) -> None:
    first, second, third = map(storers.katas, range(3))
    kata_id = first.create()
    avatar = second.start(kata_id, "whale")
    numbers = [
        record(katas, kata_id, avatar, number + 1)
        for number, katas in enumerate([third, first, second, third])
    ]
    assert numbers == [1, 2, 3, 4]
    for katas in (first, second, third):
        assert katas.get(kata_id).avatars == ["whale"]
        assert [light.number for light in katas.lights(kata_id, "whale")] == [0, 1, 2, 3, 4]
        assert katas.files(kata_id, "whale", 3).files == files(3)
        assert katas.diff(kata_id, "whale", 1, 2)
        assert katas.download(kata_id)
        completed = storer_pb2.CompleteKataIdRequest(partial_id=kata_id[:6])
        assert katas.stub.CompleteKataId(completed).kata_ids == [kata_id]
        listed = katas.stub.ListKatas(storer_pb2.ListKatasRequest()).katas
        assert [each.kata_id for each in listed] == [kata_id]
    assert storers.owner(kata_id) == 0


def test_a_watch_through_any_of_them_shows_what_is_recorded_through_another(
    storers: Storers,
) -> None:
    kata_id = storers.katas(0).started("whale")
    with storers.katas(1).watching(kata_id) as parts:
        record(storers.katas(2), kata_id, "whale", 1)
        lights = (part.light.number for part in parts if part.HasField("light"))
        assert list(itertools.islice(lights, 2)) == [0, 1]


def test_what_a_killed_storer_acknowledged_is_at_the_others_at_once(storers: Storers) -> None:
    katas = storers.katas(0)
    kata_id = katas.started("whale", "hippo")
    katas.stub.SetOptions(storer_pb2.SetOptionsRequest(kata_id=kata_id, options=DARK))
    for number in (1, 2):
        record(katas, kata_id, "whale", number)
    large = {**FILES, "large.txt": b"0123456789abcdef" * 131072}
    katas.record(kata_id, "hippo", large, colour=GREEN)
    before = {name: katas.lights(kata_id, name) for name in ("whale", "hippo")}
    storers.services[0].kill()
    other = storers.katas(1)
    assert record(other, kata_id, "whale", 3) == 3
    assert other.lights(kata_id, "whale")[:3] == before["whale"]
    assert other.lights(kata_id, "hippo") == before["hippo"]
    assert other.files(kata_id, "hippo").files == large
    assert other.get(kata_id).options.kata.theme == storer_pb2.THEME_DARK
    assert storers.owner(kata_id) == 1


def test_a_storer_that_comes_back_goes_on_with_what_the_others_did(storers: Storers) -> None:
    katas = storers.katas(0)
    kata_id = katas.started("whale")
    record(katas, kata_id, "whale", 1)
    storers.services[0].kill()
    record(storers.katas(1), kata_id, "whale", 2)
    storers.start_again(0)
    assert record(storers.katas(0), kata_id, "whale", 3) == 3
    storers.services[1].kill()
    assert record(storers.katas(0), kata_id, "whale", 4) == 4
    found = storers.katas(0)
    assert [found.files(kata_id, "whale", each).files for each in range(1, 5)] == [
        files(each) for each in range(1, 5)
    ]


def test_a_storer_that_starts_again_goes_on_with_its_own(storers: Storers) -> None:
    katas = storers.katas(0)
    kata_id = katas.started("whale")
    record(katas, kata_id, "whale", 1)
    folder = storers.containers[0].folder(kata_id) / "whale/sandbox"
    (folder / "a.out").write_bytes(b"a build product")
    (folder.parent / "submission.json").write_bytes(b'{"filenames": []}')  # as a run leaves it
    storers.services[0].kill()
    storers.start_again(0)
    assert record(storers.katas(0), kata_id, "whale", 2) == 2
    assert (folder / "a.out").exists()


def test_a_frozen_storer_that_thaws_acknowledges_nothing_of_its_own(storers: Storers) -> None:
    katas = storers.katas(0)
    kata_id = katas.started("whale")
    record(katas, kata_id, "whale", 1)
    with storers.frozen(0):
        late = katas.stub.RecordTest.future(
            a_test(kata_id, "whale", files(99), request_id="late-request"), timeout=60
        )
        assert record(storers.katas(1), kata_id, "whale", 2) == 2
    error = late.exception()
    lights = storers.katas(1).lights(kata_id, "whale")
    if error is None:  # it was sent on to the new owner
        assert late.result().light.number == 3
        assert len(lights) == 4
    else:
        assert status_of(error) is grpc.StatusCode.UNAVAILABLE
        assert len(lights) == 3
    assert storers.katas(0).lights(kata_id, "whale") == lights
    assert storers.owner(kata_id) == 1


def test_what_the_archive_has_is_no_longer_in_etcd(storers: Storers) -> None:
    katas = storers.katas(0)
    kata_id = katas.started("whale")
    for number in (1, 2, 3):
        record(katas, kata_id, "whale", number)
    katas.stub.SetOptions(storer_pb2.SetOptionsRequest(kata_id=kata_id, options=DARK))
    wait_until(lambda: storers.record_count(kata_id) == 0)
    storers.services[0].kill()
    other = storers.katas(1)
    assert [light.number for light in other.lights(kata_id, "whale")] == [0, 1, 2, 3]
    assert other.get(kata_id).options.kata.theme == storer_pb2.THEME_DARK


def test_a_deleted_kata_is_deleted_everywhere(storers: Storers) -> None:
    kata_id = storers.katas(0).started("whale")
    wait_until_copied(storers.containers[0].folder(kata_id), whale=0)
    storers.katas(1).delete(kata_id)
    for number in range(3):
        with refused(grpc.StatusCode.NOT_FOUND):
            storers.katas(number).get(kata_id)
    storers.services[0].kill()
    with refused(grpc.StatusCode.NOT_FOUND):
        storers.katas(1).get(kata_id)
    assert storers.owner(kata_id) is None


def test_an_archived_kata_is_fetched_by_whoever_is_asked(storers: Storers) -> None:
    katas = storers.katas(0)
    kata_id = katas.started("whale")
    record(katas, kata_id, "whale", 1)
    storers.katas(2).stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=kata_id))
    assert storers.owner(kata_id) is None
    assert storers.record_count(kata_id) == 0
    assert record(storers.katas(1), kata_id, "whale", 2) == 2
    assert storers.owner(kata_id) == 1


def test_a_restored_kata_is_at_the_others_when_its_storer_is_killed(storers: Storers) -> None:
    katas = storers.katas(0)
    kata_id = katas.started("whale")
    record(katas, kata_id, "whale", 1)
    tar = b"".join(part.data for part in katas.download(kata_id))
    record(katas, kata_id, "whale", 2)
    storers.katas(1).restore(tar, overwrite=True)
    storers.services[1].kill()
    assert [light.number for light in storers.katas(2).lights(kata_id, "whale")] == [0, 1]


def test_a_fork_with_its_history_is_at_the_others_when_its_storer_is_killed(
    storers: Storers,
) -> None:
    kata_id = storers.katas(0).started("whale")
    record(storers.katas(0), kata_id, "whale", 1)
    forked = (
        storers.katas(1)
        .stub.ForkKata(
            storer_pb2.ForkKataRequest(
                kata_id=kata_id, avatar="whale", light_number=1, with_avatar=True
            )
        )
        .kata_id
    )
    owner = storers.owner(forked)
    assert owner is not None
    storers.services[owner].kill()
    other = storers.katas((owner + 1) % 3)
    assert [light.number for light in other.lights(forked, "whale")] == [0, 1]


def test_katas_from_before_are_shared_when_they_are_next_used(
    make_storers: Callable[[Etcd], Storers], etcd: Etcd
) -> None:
    storers = make_storers(etcd)
    storers.add(CYBER_DOJO_ETCD="", CYBER_DOJO_ARCHIVE="", CYBER_DOJO_ARCHIVE_COPY_SECONDS="")
    katas = storers.katas(0)
    kata_id = katas.started("whale")
    record(katas, kata_id, "whale", 1)
    unused = katas.started("whale")
    storers.services[0].stop()
    storers.add()
    storers.start_again(0)
    wait_until(lambda: {storers.owner(kata_id), storers.owner(unused)} == {0})
    assert record(storers.katas(1), kata_id, "whale", 2) == 2
    assert storers.owner(kata_id) == 0
    storers.services[0].wait_for_event(lambda event: event["event"] == "katas shared")
    storers.services[0].kill()
    assert record(storers.katas(1), kata_id, "whale", 3) == 3
    assert len(storers.katas(1).lights(unused, "whale")) == 1


@pytest.mark.parametrize("owner", ["n0", "n1"])
def test_a_kata_from_before_that_was_claimed_and_no_more_is_found(
    make_storers: Callable[[Etcd], Storers], own_etcd: Etcd, owner: str
) -> None:
    storers = make_storers(own_etcd)
    storers.add(CYBER_DOJO_ETCD="")
    kata_id = storers.katas(0).started("whale")
    storers.services[0].stop()
    own_etcd.put(f"/{storers.installation}/owner/{kata_id}", owner.encode())  # and then it died
    storers.start_again(0)
    assert record(storers.katas(0), kata_id, "whale", 1) == 1
    storers.add()
    assert record(storers.katas(1), kata_id, "whale", 2) == 2


def test_a_machine_that_is_drained_shares_first_what_only_it_has(
    make_storers: Callable[[Etcd], Storers], etcd: Etcd
) -> None:
    storers = make_storers(etcd)
    storers.add(CYBER_DOJO_ETCD="")
    kata_ids = [storers.katas(0).started("whale") for _ in range(3)]
    storers.services[0].stop()
    storers.add()
    storers.start_again(0)
    machines = machines_pb2_grpc.MachinesServiceStub(storers.channel(0))
    machines.DrainMachine(machines_pb2.DrainMachineRequest(name="n0"))
    wait_until(lambda: [storers.owner(each) for each in kata_ids] == [None] * 3)
    storers.services[0].kill()
    for kata_id in kata_ids:
        assert record(storers.katas(1), kata_id, "whale", 1) == 1


def test_without_etcd_nothing_is_acknowledged_and_reading_goes_on(
    make_storers: Callable[[Etcd], Storers], own_etcd: Etcd
) -> None:
    storers = make_storers(own_etcd)
    storers.add()
    katas = storers.katas(0)
    kata_id = katas.started("whale")
    record(katas, kata_id, "whale", 1)
    own_etcd.kill()
    with refused(grpc.StatusCode.UNAVAILABLE, reason="ETCD_UNAVAILABLE"):
        katas.record(kata_id, "whale", files(2))
    with refused(grpc.StatusCode.UNAVAILABLE, reason="ETCD_UNAVAILABLE"):
        katas.create()
    assert len(katas.lights(kata_id, "whale")) == 2
    own_etcd.start()
    assert record(katas, kata_id, "whale", 2) == 2
    assert len(katas.lights(kata_id, "whale")) == 3


@pytest.mark.parametrize("colour", [RED, AMBER])
def test_two_storers_that_are_asked_in_turns_give_numbers_without_gaps(
    storers: Storers, colour: int
) -> None:
    kata_id = storers.katas(0).started("whale")
    numbers = [
        storers.katas(each % 3).record(kata_id, "whale", files(each), colour=colour).number
        for each in range(9)
    ]
    assert numbers == list(range(1, 10))


def test_a_watch_of_several_katas_goes_on_when_one_of_them_moves(storers: Storers) -> None:
    katas = [storers.katas(0).started("whale"), storers.katas(1).started("whale")]
    request = storer_pb2.WatchKatasRequest(
        katas=[storer_pb2.WatchKataRequest(kata_id=each) for each in katas]
    )
    call = storers.katas(2).stub.WatchKatas(request, timeout=60)
    parts = ((part.kata_id, part.happened) for part in call)
    lights = (
        (kata_id, happened.light.number)
        for kata_id, happened in parts
        if happened.HasField("light")
    )
    assert sorted(itertools.islice(lights, 2)) == sorted((each, 0) for each in katas)
    record(storers.katas(2), katas[0], "whale", 1)
    assert next(lights) == (katas[0], 1)
    storers.services[0].kill()
    record(storers.katas(1), katas[0], "whale", 2)
    assert next(lights) == (katas[0], 2)
    record(storers.katas(2), katas[1], "whale", 1)
    assert next(lights) == (katas[1], 1)
    call.cancel()


def test_a_backup_of_any_of_them_has_all_katas_as_they_are_now(
    make_storers: Callable[[Etcd], Storers], etcd: Etcd, katas_elsewhere: Katas
) -> None:
    storers = make_storers(etcd)
    for copy_seconds in ("3600", "1", "3600"):
        storers.add(CYBER_DOJO_ARCHIVE_COPY_SECONDS=copy_seconds)
    made = [storers.katas(number).started("whale") for number in range(3)]
    wait_until_copied(storers.containers[1].folder(made[1]), whale=0)
    for kata_id in made:
        record(storers.katas(0), kata_id, "whale", 1)
    for number in range(3):
        found = backup(storers.katas(number))
        assert not found.failures
        restored = restore_into(katas_elsewhere, found.tar, overwrite=True)
        assert sorted(restored.outcomes) == sorted(made)
        for kata_id in made:
            assert katas_elsewhere.files(kata_id, "whale").files == files(1)
            katas_elsewhere.delete(kata_id)
    before = backup(storers.katas(2))
    record(storers.katas(2), made[0], "whale", 2)
    changed = backup(storers.katas(2), since_token=before.token)
    assert changed.states[made[1]] == "unchanged"
    assert sorted(restore_into(katas_elsewhere, before.tar).outcomes) == sorted(made)
    assert list(restore_into(katas_elsewhere, changed.tar).outcomes) == [made[0]]
    assert len(katas_elsewhere.lights(made[0], "whale")) == 3


def test_a_kata_that_nobody_has_used_for_a_while_goes_where_it_is_wanted(
    storers: Storers,
) -> None:
    storers.add_runner(1)
    kata_id = storers.katas(0).started("whale")
    record(storers.katas(0), kata_id, "whale", 1)
    wanted = (("kata-id", kata_id),)
    request = a_test(kata_id, "whale", files(2), request_id="request-two")
    assert storers.katas(1).stub.RecordTest(request, metadata=wanted).light.number == 2
    assert storers.owner(kata_id) == 0  # it is in use
    before = time.time() - IDLE_SECONDS - 1
    os.utime(storers.containers[0].folder(kata_id).parent, (before, before))
    assert record(storers.katas(1), kata_id, "whale", 3) == 3
    assert storers.owner(kata_id) == 0  # nobody has chosen that machine
    numbers = itertools.count(4)

    def goes() -> bool:
        number = next(numbers)
        os.utime(storers.containers[0].folder(kata_id).parent, (before, before))
        request = a_test(kata_id, "whale", files(number), request_id=f"request-number-{number}")
        light = storers.katas(1).stub.RecordTest(request, metadata=wanted).light
        assert light.number == number
        return storers.owner(kata_id) == 1

    wait_until(goes)  # it stays while it is being copied to the archive
    number = next(numbers)
    assert record(storers.katas(0), kata_id, "whale", number) == number
    assert storers.owner(kata_id) == 1


@pytest.mark.parametrize("has_runner", [True, False], ids=["no image", "no runner"])
def test_a_kata_stays_where_its_tests_can_be_run(storers: Storers, *, has_runner: bool) -> None:
    if has_runner:
        storers.add_runner(1)
    manifest = a_manifest(image_name=f"cyberdojofoundation/{secrets.token_hex(4)}")
    request = storer_pb2.CreateKataRequest(manifest=manifest)
    kata_id = storers.katas(0).stub.CreateKata(request).kata_id
    storers.katas(0).start(kata_id, "whale")
    before = time.time() - IDLE_SECONDS - 1
    os.utime(storers.containers[0].folder(kata_id).parent, (before, before))
    test = a_test(kata_id, "whale", files(1), request_id="request-one")
    wanted = (("kata-id", kata_id),)
    assert storers.katas(1).stub.RecordTest(test, metadata=wanted).light.number == 1
    assert storers.owner(kata_id) == 0


def test_a_kata_that_is_watched_stays(storers: Storers) -> None:
    kata_id = storers.katas(0).started("whale")
    with storers.katas(0).watching(kata_id) as parts:
        assert next(parts).light.number == 0
        before = time.time() - IDLE_SECONDS - 1
        os.utime(storers.containers[0].folder(kata_id).parent, (before, before))
        request = a_test(kata_id, "whale", files(1), request_id="request-one")
        storers.katas(1).stub.RecordTest(request, metadata=(("kata-id", kata_id),))
        assert storers.owner(kata_id) == 0


def test_a_storer_that_etcd_does_not_answer_tells_routers_and_ends_its_watches(
    make_storers: Callable[[Etcd], Storers],
    own_etcd: Etcd,
    readiness: Callable[[str], tuple[int, str]],
) -> None:
    (port,) = free_ports(1)
    storers = make_storers(own_etcd)
    storers.add(CYBER_DOJO_HEALTH_LISTEN=f"127.0.0.1:{port}")
    wait_until(lambda: readiness(port) == (200, "ready"))
    kata_id = storers.katas(0).started("whale")
    with storers.katas(0).watching(kata_id) as parts:
        assert next(parts).light.number == 0
        own_etcd.freeze()
        with refused(grpc.StatusCode.UNAVAILABLE, reason="KATA_MOVED"):
            next(parts)
        wait_until(lambda: readiness(port)[0] == 503)
        own_etcd.thaw()
    wait_until(lambda: readiness(port) == (200, "ready"))


@pytest.mark.parametrize("is_restored", [True, False])
def test_an_etcd_that_lost_its_data_takes_no_light_along(
    make_storers: Callable[[Etcd], Storers], own_etcd: Etcd, tmp_path: Path, *, is_restored: bool
) -> None:
    storers = make_storers(own_etcd)
    storers.add()
    if is_restored:
        for number in range(100):  # the archive will have a higher token than the new etcd gives
            own_etcd.put("other", b"%d" % number)
    kata_id = storers.katas(0).started("whale")
    record(storers.katas(0), kata_id, "whale", 1)
    wait_until(lambda: storers.record_count(kata_id) == 0)
    record(storers.katas(0), kata_id, "whale", 2)
    storers.services[0].kill()
    own_etcd.kill()
    data, kept = tmp_path / "etcd/data", tmp_path / "etcd/kept"
    data.rename(kept)
    own_etcd.start()
    storers.start_again(0)
    if is_restored:
        with refused(grpc.StatusCode.FAILED_PRECONDITION, reason="ETCD_BEHIND"):
            storers.katas(0).get(kata_id)
        storers.services[0].stop()
        own_etcd.kill()
        shutil.rmtree(data)
        kept.rename(data)
        own_etcd.start()
        storers.start_again(0)
    assert len(storers.katas(0).lights(kata_id, "whale")) == 3
    assert record(storers.katas(0), kata_id, "whale", 3) == 3


def test_what_a_storer_has_of_a_kata_that_another_took_over_is_removed(
    make_storers: Callable[[Etcd], Storers], etcd: Etcd
) -> None:
    storers = make_storers(etcd)
    storers.add()
    storers.add()
    kata_id = storers.katas(0).started("whale")
    storers.services[0].kill()
    record(storers.katas(1), kata_id, "whale", 1)
    storers.start_again(0)
    wait_until(lambda: not storers.containers[0].folder(kata_id).exists())
    assert len(storers.katas(0).lights(kata_id, "whale")) == 2
