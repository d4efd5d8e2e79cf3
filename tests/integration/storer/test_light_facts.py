"""What a web tier says of a light goes wherever the light goes."""

from collections.abc import Callable
from typing import Any

import grpc

from cyberdojo.output.v1 import output_pb2
from cyberdojo.results.v1 import results_pb2
from cyberdojo.storer.v1 import storer_pb2
from support.services import Service
from support.storer.storing import (
    AMBER,
    FILES,
    GREEN,
    RED,
    Katas,
    refused,
)

RESULTS = results_pb2.TestResults(
    tests=[
        results_pb2.TestResult(name="life", status=results_pb2.TEST_STATUS_PASSED),
        results_pb2.TestResult(name="answer", status=results_pb2.TEST_STATUS_FAILED, message="54"),
    ],
    counts=results_pb2.TestCounts(passed=1, failed=1),
)
FACTS: dict[str, Any] = {
    "predicted": GREEN,
    "writer": "tab 7",
    "special": True,
    "stdout": output_pb2.Output(truncated=True),
    "added_lines": 3,
    "deleted_lines": 0,
}


def source(kata_id: str, avatar: str, number: int) -> storer_pb2.LightSource:
    return storer_pb2.LightSource(kata_id=kata_id, avatar=avatar, light_number=number)


def assert_has_facts(light: storer_pb2.Light) -> None:
    told = {name: getattr(light, name) for name in FACTS if name != "stdout"}
    assert told == {name: value for name, value in FACTS.items() if name != "stdout"}
    assert light.stdout_truncated
    assert not light.stderr_truncated
    assert light.test_counts == RESULTS.counts


def test_every_call_that_tells_of_a_light_tells_its_facts(katas: Katas) -> None:
    kata_id = katas.started("whale")
    recorded = katas.record(kata_id, "whale", test_results=RESULTS, **FACTS)
    assert_has_facts(recorded)
    assert katas.lights(kata_id, "whale")[1] == recorded
    request = storer_pb2.ListAvatarsRequest(kata_id=kata_id)
    assert katas.stub.ListAvatars(request).avatars[0].newest == recorded
    with katas.watching(kata_id, {"whale": 0}) as lights:
        assert next(lights).light == recorded
    files = katas.files(kata_id, "whale", 1)
    assert files.light == recorded
    assert files.test_results == RESULTS


def test_facts_survive_a_kill_and_come_back_from_a_tar(
    start_storer: Callable[..., Service], client: Callable[[Service], Katas]
) -> None:
    before = start_storer()
    katas = client(before)
    kata_id = katas.started("whale")
    own = source(kata_id, "whale", 0)
    recorded = katas.record(kata_id, "whale", {}, source=own, test_results=RESULTS, **FACTS)
    before.kill()
    after = client(start_storer())
    assert after.lights(kata_id, "whale")[1] == recorded
    tar = after.tar(kata_id)
    after.delete(kata_id)
    after.restore(tar)
    found = after.files(kata_id, "whale", 1)
    assert (found.light, found.test_results) == (recorded, RESULTS)
    assert_has_facts(found.light)
    assert found.light.source == own


def test_a_light_without_facts_says_nothing_of_them(katas: Katas) -> None:
    kata_id = katas.started("whale")
    light = katas.record(kata_id, "whale")
    fields = {field.name for field, _ in light.ListFields()}
    assert fields == {"number", "colour", "time", "status"}
    assert not katas.files(kata_id, "whale", 1).HasField("test_results")


def test_a_revert_has_the_files_and_the_outcome_of_the_earlier_light(katas: Katas) -> None:
    kata_id = katas.started("whale")
    earlier = {**FILES, "hiker.c": b"earlier"}
    katas.record(
        kata_id, "whale", earlier, colour=RED, stdout=b"54", status=2, test_results=RESULTS
    )
    katas.record(kata_id, "whale", colour=AMBER)
    reverted = katas.record(kata_id, "whale", {}, colour=0, source=source(kata_id, "whale", 1))
    assert (reverted.number, reverted.colour, reverted.status) == (3, RED, 2)
    assert reverted.test_counts == RESULTS.counts
    found = katas.files(kata_id, "whale")
    assert (dict(found.files), found.stdout.content, found.test_results) == (
        earlier,
        b"54",
        RESULTS,
    )


def test_a_check_out_of_another_kata_can_have_an_outcome_of_its_own(katas: Katas) -> None:
    theirs, ours = katas.started("zebra"), katas.started("whale")
    katas.record(theirs, "zebra", {"a.c": b"1"}, colour=RED)
    katas.record(ours, "whale", {}, colour=GREEN, stdout=b"42", source=source(theirs, "zebra", 1))
    found = katas.files(ours, "whale")
    assert (dict(found.files), found.stdout.content, found.light.colour) == (
        {"a.c": b"1"},
        b"42",
        GREEN,
    )
    assert found.light.source == source(theirs, "zebra", 1)


def test_an_unknown_source_is_not_found_and_nothing_is_recorded(katas: Katas) -> None:
    kata_id = katas.started("whale")
    for unknown in (
        source("0000000000", "whale", 0),
        source(kata_id, "zebra", 0),
        source(kata_id, "whale", 1),
    ):
        with refused(grpc.StatusCode.NOT_FOUND):
            katas.record(kata_id, "whale", {}, colour=RED, source=unknown)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, says="light 0 has none"):
        katas.record(kata_id, "whale", {}, colour=0, source=source(kata_id, "whale", 0))
    assert [each.number for each in katas.lights(kata_id, "whale")] == [0]


def start_from(
    katas: Katas, kata_id: str, found: storer_pb2.LightSource, request_id: str = ""
) -> storer_pb2.StartAvatarResponse:
    return katas.stub.StartAvatar(
        storer_pb2.StartAvatarRequest(kata_id=kata_id, source=found, request_id=request_id)
    )


def test_an_avatar_starts_from_a_light_of_any_kata(katas: Katas) -> None:
    theirs, ours = katas.started("zebra"), katas.create({"kata's": b"own"})
    katas.record(theirs, "zebra", {"a.c": b"1"}, colour=RED)
    started = start_from(katas, ours, source(theirs, "zebra", 1))
    assert dict(started.files) == {"a.c": b"1"}
    found = katas.files(ours, started.avatar, 0)
    assert (dict(found.files), found.light.source) == ({"a.c": b"1"}, source(theirs, "zebra", 1))
    # In the same kata too; and it goes on as any avatar does.
    second = start_from(katas, ours, source(ours, started.avatar, 0))
    assert dict(second.files) == {"a.c": b"1"}
    assert katas.record(ours, second.avatar, {"b": b""}).number == 1
    tar = katas.tar(ours)
    katas.delete(ours)
    katas.restore(tar)
    assert katas.files(ours, started.avatar, 0) == found


def test_a_start_from_a_light_is_repeated_by_its_request_when_its_source_is_gone(
    katas: Katas,
) -> None:
    theirs, ours = katas.started("zebra"), katas.create()
    katas.record(theirs, "zebra", {"a.c": b"1"}, colour=RED)
    started = start_from(katas, ours, source(theirs, "zebra", 1), "once")
    katas.delete(theirs)
    assert start_from(katas, ours, source(theirs, "zebra", 1), "once") == started
    with refused(grpc.StatusCode.ALREADY_EXISTS, reason="REQUEST_ID_REUSED"):
        start_from(katas, ours, source(theirs, "zebra", 0), "once")
    assert list(katas.get(ours).avatars) == [started.avatar]


def test_a_start_from_an_unknown_light_starts_nobody(katas: Katas) -> None:
    kata_id = katas.started("whale")
    for unknown in (source("0000000000", "whale", 0), source(kata_id, "whale", 1)):
        with refused(grpc.StatusCode.NOT_FOUND):
            start_from(katas, kata_id, unknown)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="source.light_number"):
        start_from(katas, kata_id, source(kata_id, "whale", -1))
    assert list(katas.get(kata_id).avatars) == ["whale"]
