"""RecordTest: a light is in git, on disk, once, and in order."""

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from dojo.engine.data_containers import DataContainers
from dojo.naming import Namespace
from dojo.refusals import reason_of
from support.refusals import facts
from support.services import Service, code_of
from support.storer.katas_directories import BUFFALO, DOLPHIN
from support.storer.storing import (
    AMBER,
    FAULTY,
    FILES,
    GREEN,
    RED,
    STARTED,
    TIMED_OUT,
    Katas,
    Stub,
    a_test,
    at_once,
    git,
    refused,
    timestamp,
)

COLOURS = {"red": RED, "amber": AMBER, "green": GREEN, "timed_out": TIMED_OUT, "faulty": FAULTY}


def increments(avatar_folder: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((avatar_folder / "increments.json").read_bytes())
    return found


def tags(avatar_folder: Path) -> list[int]:
    return sorted(int(tag) for tag in git(avatar_folder, "tag").split())


def visible(avatar_folder: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((avatar_folder / "manifest.json").read_bytes())
    return found


@pytest.mark.parametrize("colour", COLOURS)
def test_a_light_has_the_recorded_values(katas: Katas, colour: str) -> None:
    kata_id = katas.started("whale")
    light = katas.record(
        kata_id,
        "whale",
        colour=COLOURS[colour],
        status=2,
        duration=Duration(seconds=1, nanos=500_000_000),
        reason="why" if colour in {"faulty", "timed_out"} else "",
    )
    assert light.number == 1
    assert light.colour == COLOURS[colour]
    assert light.status == 2
    assert light.duration == Duration(seconds=1, nanos=500_000_000)
    assert katas.lights(kata_id, "whale")[1:] == [light]


@pytest.mark.parametrize("parts", [(1969, 12, 31, 23, 59, 58), (9999, 12, 31, 23, 59, 59)])
def test_a_time_keeps_its_fraction_in_the_past_and_the_future(
    katas: Katas, parts: tuple[int, int, int, int, int, int]
) -> None:
    kata_id = katas.started("whale")
    time = timestamp(datetime(*parts, 999_999, tzinfo=UTC))
    assert katas.record(kata_id, "whale", time=time).time == time
    assert katas.lights(kata_id, "whale")[1].time == time


def test_a_light_is_a_commit_with_its_number_as_tag(
    katas: Katas, folder: Callable[[str], Path]
) -> None:
    kata_id = katas.started("whale")
    files = {"cyber-dojo.sh": b"make\n", "src/hiker.c": b"int x;\n", "empty": b""}
    katas.record(kata_id, "whale", files, stdout=b"out", stderr=b"err", colour=GREEN, status=0)
    whale = folder(kata_id) / "whale"
    assert tags(whale) == [0, 1]
    assert git(whale, "log", "-1", "--format=%s|%an|%ae|%at|%P", "1").decode().strip() == (
        f"1 green|whale_{kata_id}|whale@cyber-dojo.org|{timestamp(STARTED).seconds + 7}|"
        + git(whale, "rev-parse", "0").decode().strip()
    )
    tree = git(whale, "ls-tree", "-r", "1").decode().splitlines()
    assert {line.split("\t")[1]: line.split()[0] for line in tree} == {
        "light.json": "100644",
        "sandbox/cyber-dojo.sh": "100755",
        "sandbox/empty": "100644",
        "sandbox/src/hiker.c": "100644",
    }
    assert git(whale, "show", "1:sandbox/src/hiker.c") == b"int x;\n"
    described = json.loads(git(whale, "show", "1:light.json"))
    assert (described["stdout"], described["stderr"]) == ("out", "err")
    assert (described["number"], described["colour"]) == (1, "green")
    git(whale, "fsck", "--strict")


def test_increments_and_the_avatars_manifest_follow_each_light(
    katas: Katas, folder: Callable[[str], Path]
) -> None:
    kata_id = katas.started("whale")
    whale = folder(kata_id) / "whale"
    for number, (name, colour) in enumerate(COLOURS.items(), start=1):
        files = {**FILES, "hiker.c": name.encode()}
        katas.record(kata_id, "whale", files, colour=colour, status=0)
        assert [(each["number"], each["colour"]) for each in increments(whale)][-1] == (
            number,
            name,
        )
        assert visible(whale)["hiker.c"] == name
    assert [each["number"] for each in increments(whale)] == [1, 2, 3, 4, 5]
    assert increments(whale)[0]["time"] == [2019, 1, 16, 12, 46, 2]


@pytest.mark.parametrize(
    "content",
    [
        bytes(range(256)),
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b"",
        b"no newline",
        b"\r\n\r\n",
        b"\0" * 9999,
    ],
    ids=["all bytes", "not UTF-8", "a surrogate", "empty", "no newline", "CRLF", "zeros"],
)
def test_files_and_output_keep_every_byte(katas: Katas, content: bytes) -> None:
    kata_id = katas.started("whale")
    files = {"cyber-dojo.sh": content, "ü/名前.txt": content}
    katas.record(kata_id, "whale", files, stdout=content, stderr=content[::-1])
    found = katas.files(kata_id, "whale")
    assert dict(found.files) == files
    assert (found.stdout.content, found.stderr.content) == (content, content[::-1])


def test_the_same_request_sent_twice_records_once(katas: Katas) -> None:
    kata_id = katas.started("whale")
    first = katas.record(kata_id, "whale", request_id="a")
    other = katas.record(kata_id, "whale", request_id="b", colour=GREEN)
    again = katas.record(kata_id, "whale", request_id="a")
    assert again == first
    assert [light.number for light in katas.lights(kata_id, "whale")] == [0, 1, 2]
    assert other.number == 2


def test_the_same_request_sent_many_times_at_once_records_once(katas: Katas) -> None:
    kata_id = katas.started("whale")
    answers = at_once(lambda _: katas.record(kata_id, "whale", request_id="same"), range(16))
    assert [light.number for light in answers] == [1] * 16
    assert len(katas.lights(kata_id, "whale")) == 2


def test_a_request_id_is_valid_for_its_avatar_only(katas: Katas) -> None:
    kata_id = katas.started("whale", "bat")
    katas.record(kata_id, "whale", request_id="a")
    katas.record(kata_id, "whale")
    assert katas.record(kata_id, "bat", request_id="a").number == 1
    assert len(katas.lights(kata_id, "bat")) == 2


def test_the_same_request_sent_again_to_a_storer_that_was_restarted_records_once(
    start_storer: Callable[..., Service], client: Callable[[Service], Katas]
) -> None:
    before = start_storer()
    kata_id = client(before).started("whale")
    first = client(before).record(kata_id, "whale", request_id="a")
    before.stop()
    after = client(start_storer())
    assert after.record(kata_id, "whale", request_id="a") == first
    assert len(after.lights(kata_id, "whale")) == 2


def test_a_stale_number_is_aborted_with_the_newest_number(katas: Katas) -> None:
    kata_id = katas.started("whale")
    for number in (1, 2, 3):
        assert katas.record(kata_id, "whale", expected_number=number).number == number
    for stale in (1, 3, 5):
        with pytest.raises(grpc.RpcError) as caught:
            katas.record(kata_id, "whale", expected_number=stale)
        assert caught.value.code() is grpc.StatusCode.ABORTED
        assert reason_of(caught.value) == "STALE_NUMBER"
        assert facts(caught.value) == {
            "kata_id": kata_id,
            "avatar": "whale",
            "expected_number": str(stale),
            "newest_number": "3",
        }
    assert len(katas.lights(kata_id, "whale")) == 4


def test_one_of_many_writers_that_expect_a_number_gets_it(katas: Katas) -> None:
    kata_id = katas.started("whale")

    def write(_: int) -> grpc.StatusCode:
        return code_of(lambda: katas.record(kata_id, "whale", expected_number=1))

    codes = at_once(write, range(16))
    assert codes.count(grpc.StatusCode.OK) == 1
    assert codes.count(grpc.StatusCode.ABORTED) == 15


def test_16_writers_on_one_avatar_lose_nothing(katas: Katas, folder: Callable[[str], Path]) -> None:
    kata_id = katas.started("whale")

    def write(writer: int) -> list[tuple[int, bytes]]:
        written = []
        for turn in range(10):
            content = b"%d %d" % (writer, turn)
            light = katas.record(kata_id, "whale", {"a": content}, stdout=content)
            written.append((light.number, content))
        return written

    written = [pair for pairs in at_once(write, range(16)) for pair in pairs]
    assert sorted(number for number, _ in written) == list(range(1, 161))
    whale = folder(kata_id) / "whale"
    assert [each["number"] for each in increments(whale)] == list(range(1, 161))
    assert tags(whale) == list(range(161))
    assert len(git(whale, "rev-list", "--first-parent", "160").split()) == 161
    for number, content in written[::10]:
        found = katas.files(kata_id, "whale", number)
        assert (found.files["a"], found.stdout.content) == (content, content)


def test_two_storers_on_one_avatar_lose_nothing(
    katas: Katas, start_storer: Callable[..., Service], client: Callable[[Service], Katas]
) -> None:
    kata_id = katas.started("whale")
    both = [katas, client(start_storer())]

    def write(writer: int) -> list[int]:
        return [both[writer % 2].record(kata_id, "whale").number for _ in range(10)]

    numbers = [number for each in at_once(write, range(8)) for number in each]
    assert sorted(numbers) == list(range(1, 81))
    for each in both:
        assert [light.number for light in each.lights(kata_id, "whale")] == list(range(81))


def test_a_storer_continues_after_another_that_died_before_it_wrote_increments(
    katas: Katas,
    start_storer: Callable[..., Service],
    client: Callable[[Service], Katas],
    folder: Callable[[str], Path],
) -> None:
    kata_id = katas.started("whale")
    katas.record(kata_id, "whale")
    increments_json = folder(kata_id) / "whale" / "increments.json"
    kept = increments_json.with_name(".kept")
    kept.hardlink_to(increments_json)
    client(start_storer()).record(kata_id, "whale", {"a": b"2"}, request_id="two")
    kept.replace(increments_json)  # the same inode that the storer has in its cache
    assert katas.record(kata_id, "whale", {"a": b"2"}, request_id="two").number == 2
    assert katas.record(kata_id, "whale", {"a": b"3"}).number == 3
    assert [light.number for light in katas.lights(kata_id, "whale")] == [0, 1, 2, 3]
    assert [each["number"] for each in increments(increments_json.parent)] == [1, 2, 3]


def test_tests_are_recorded_in_an_imported_kata(
    katas: Katas, folder: Callable[[str], Path]
) -> None:
    for kata_id, name, newest in ((BUFFALO.id, "buffalo", 36), (DOLPHIN.id, "dolphin", 20)):
        katas.import_(kata_id)
        before = katas.lights(kata_id, name)
        assert katas.record(kata_id, name, {"a": b"new"}).number == newest + 1
        assert katas.lights(kata_id, name)[:-1] == before
        assert dict(katas.files(kata_id, name).files) == {"a": b"new"}
        assert tags(folder(kata_id) / name)[-1] == newest + 1


@pytest.mark.parametrize("kills", range(3))
def test_every_acknowledged_light_survives_a_kill_of_the_storer(
    start_storer: Callable[..., Service],
    client: Callable[[Service], Katas],
    folder: Callable[[str], Path],
    kills: int,
) -> None:
    service = start_storer()
    katas = client(service)
    names = ("bat", "fox", "whale")
    kata_id = katas.started(*names)
    acknowledged: dict[str, dict[int, bytes]] = {name: {} for name in names}
    enough = threading.Semaphore(0)

    def write(writer: int) -> None:
        name = names[writer % len(names)]
        for turn in range(10_000):
            content = b"%d %d" % (writer, turn)
            try:
                light = katas.record(kata_id, name, {"a": content}, stdout=content)
            except grpc.RpcError:
                return
            acknowledged[name][light.number] = content
            enough.release()

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(6)]
    for each in writers:
        each.start()
    for _ in range(20 + 13 * kills):
        assert enough.acquire(timeout=60)
    service.kill()
    for each in writers:
        each.join()

    after = client(start_storer())
    for name in names:
        newest = max(acknowledged[name], default=0)
        numbers = [light.number for light in after.lights(kata_id, name)]
        assert numbers == list(range(len(numbers)))
        assert numbers[-1] in {newest, newest + 1, newest + 2}
        for number, content in acknowledged[name].items():
            found = after.files(kata_id, name, number)
            assert (found.files["a"], found.stdout.content) == (content, content)
        assert after.record(kata_id, name, {"a": b"after"}).number == numbers[-1] + 1
        avatar_folder = folder(kata_id) / name
        assert tags(avatar_folder) == [*numbers, numbers[-1] + 1]
        assert [each["number"] for each in increments(avatar_folder)] == tags(avatar_folder)[1:]
        assert visible(avatar_folder) == {"a": "after"}
        git(avatar_folder, "fsck", "--strict")


def test_a_test_is_recorded_only_in_its_own_kata(
    storer: Stub, katas: Katas, data_containers: DataContainers
) -> None:
    kata_id = katas.started("whale")
    longer = Namespace(data_containers.namespace.name + "x")
    assert longer.kata_id(data_containers.namespace.kata(kata_id)) is None
    with refused(grpc.StatusCode.NOT_FOUND):
        storer.RecordTest(a_test("0000000000", "whale"))
    with refused(grpc.StatusCode.NOT_FOUND, says="bat was not started"):
        storer.RecordTest(a_test(kata_id, "bat"))
