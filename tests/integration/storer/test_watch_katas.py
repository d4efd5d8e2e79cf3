"""WatchKatas: several katas in one stream. What holds for each of them is in test_watch.py."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
import pytest

from cyber_dojo_client import refused as refused_part
from cyberdojo.refusal.v1 import refusal_pb2
from cyberdojo.storer.v1 import storer_pb2
from dojo import limits, locks
from support.services import Service
from support.storer.katas_directories import SPIDER
from support.storer.storing import FILES, Katas, at_once, refused

Parts = Iterator[storer_pb2.WatchKatasResponse]
Happened = tuple[str, str, int] | tuple[str, str]

UNKNOWN = "0000000000"
LONG_REASON = "x" * 1000
MANY = 150


def watched(kata_id: str, **seen: int) -> storer_pb2.WatchKataRequest:
    return storer_pb2.WatchKataRequest(kata_id=kata_id, seen=seen)


@contextmanager
def watching(katas: Katas, *each: storer_pb2.WatchKataRequest) -> Iterator[Parts]:
    """Watch katas; the call is cancelled in the end."""
    request = storer_pb2.WatchKatasRequest(katas=each)
    call: Any = katas.stub.WatchKatas(request, timeout=60)
    yield call
    call.cancel()


def told(part: storer_pb2.WatchKatasResponse) -> Happened:
    """Return the kata of a part, and its light, or what else is said of it."""
    if part.HasField("refusal"):
        return part.kata_id, refusal_pb2.Reason.Name(part.refusal.reason)
    if part.happened.caught_up:
        assert not part.happened.HasField("light")
        return part.kata_id, "caught up"
    return part.kata_id, part.happened.avatar, part.happened.light.number


def take(parts: Parts, count: int) -> list[Happened]:
    return [told(each) for each in islice(parts, count)]


def of(kata_id: str, taken: list[Happened]) -> list[Any]:
    """Return what was told of a kata, in order."""
    return [each[1:] for each in taken if each[0] == kata_id]


def test_each_kata_comes_in_order_and_has_caught_up_once(katas: Katas) -> None:
    first, second = katas.started("whale", "bat"), katas.started("whale")
    katas.record(second, "whale")
    with watching(katas, watched(first), watched(second)) as parts:
        taken = take(parts, 6)
        assert sorted(of(first, taken)[:2]) == [("bat", 0), ("whale", 0)]
        assert of(first, taken)[2:] == [("caught up",)]
        assert of(second, taken) == [("whale", 0), ("whale", 1), ("caught up",)]
        for kata_id, number in ((second, 2), (first, 1), (second, 3)):
            katas.record(kata_id, "whale")
            assert take(parts, 1) == [(kata_id, "whale", number)]


def test_lights_come_without_gaps_while_all_katas_record(katas: Katas) -> None:
    made = [katas.started("whale") for _ in range(8)]
    with watching(katas, *map(watched, made)) as parts:
        at_once(lambda kata_id: [katas.record(kata_id, "whale") for _ in range(10)], made)
        taken = take(parts, 8 * 12)
        for kata_id in made:
            lights = [each for each in of(kata_id, taken) if each != ("caught up",)]
            assert lights == [("whale", number) for number in range(11)]


def test_a_watcher_resumes_each_kata_by_what_it_has_seen(katas: Katas) -> None:
    first, second = katas.started("whale"), katas.started("whale", "bat")
    for kata_id in (first, second):
        katas.record(kata_id, "whale")
        katas.record(kata_id, "whale")
    with watching(katas, watched(first, whale=1), watched(second, whale=2)) as parts:
        taken = take(parts, 4)
        assert of(first, taken) == [("whale", 2), ("caught up",)]
        assert of(second, taken) == [("bat", 0), ("caught up",)]


def test_edits_come_of_the_katas_for_which_they_were_asked(katas: Katas) -> None:
    made = [katas.started("whale") for _ in range(2)]
    for kata_id in made:
        edit = storer_pb2.RecordEditRequest(
            kata_id=kata_id, avatar="whale", files={**FILES, "notes.txt": b"x"}
        )
        katas.stub.RecordEdit(edit)
    with_edits, without = made
    asked = storer_pb2.WatchKataRequest(kata_id=with_edits, seen={"whale": 0}, with_edits=True)
    with watching(katas, asked, watched(without, whale=0)) as parts:
        taken = [(each.kata_id, each.happened.edit.number) for each in islice(parts, 3)]
        assert sorted(taken) == sorted([(with_edits, 1), (with_edits, 0), (without, 0)])


def test_a_kata_that_is_unknown_or_deleted_ends_its_part_alone(katas: Katas) -> None:
    stays, goes = katas.started("whale"), katas.started("whale")
    with watching(katas, watched(stays), watched(UNKNOWN), watched(goes)) as parts:
        taken = take(parts, 5)
        assert of(UNKNOWN, taken) == [("REASON_NO_SUCH_KATA",)]
        assert of(stays, taken) == of(goes, taken) == [("whale", 0), ("caught up",)]
        katas.delete(goes)
        part = next(parts)
        assert told(part) == (goes, "REASON_NO_SUCH_KATA")
        assert (part.refusal.status, part.refusal.metadata["kata_id"]) == (5, goes)
        assert goes in part.refusal.message
        katas.record(stays, "whale")
        assert take(parts, 1) == [(stays, "whale", 1)]
        katas.delete(stays)
        # The stream ends, and not with an error, when there is nothing left to watch.
        assert [told(each) for each in parts] == [(stays, "REASON_NO_SUCH_KATA")]


def test_a_damaged_kata_ends_its_part_alone(
    tmp_path: Path,
    katas_directory: Path,
    start_storer: Callable[..., Service],
    client: Callable[[Service], Katas],
) -> None:
    damaged = SPIDER.folder(tmp_path)
    shutil.copytree(SPIDER.folder(katas_directory), damaged, symlinks=True)
    (damaged / "manifest.json").write_bytes(b"{")
    katas = client(start_storer(CYBER_DOJO_KATAS_DIRECTORY=str(tmp_path)))
    sound = katas.started("whale")
    with watching(katas, watched(SPIDER.id), watched(sound)) as parts:
        taken = take(parts, 3)
        assert of(SPIDER.id, taken) == [("REASON_KATA_DAMAGED",)]
        assert of(sound, taken) == [("whale", 0), ("caught up",)]
        katas.record(sound, "whale")
        assert take(parts, 1) == [(sound, "whale", 1)]


def test_a_kata_that_is_held_delays_none_of_the_others(
    katas: Katas, folder: Callable[[str], Path]
) -> None:
    held, free = katas.started("whale"), katas.started("whale")
    with locks.locked(folder(held)), watching(katas, watched(held), watched(free)) as parts:
        assert take(parts, 2) == [(free, "whale", 0), (free, "caught up")]
        katas.record(free, "whale")
        assert take(parts, 1) == [(free, "whale", 1)]
    with watching(katas, watched(held), watched(free, whale=1)) as parts:
        assert of(held, take(parts, 3)) == [("whale", 0), ("caught up",)]


def test_a_watcher_that_does_not_read_delays_nobody_and_gets_all_katas_later(katas: Katas) -> None:
    made = [katas.started("whale") for _ in range(2)]
    with (
        watching(katas, *map(watched, made)) as slow,
        watching(katas, *map(watched, made)) as quick,
    ):
        for kata_id in made:
            for _ in range(MANY):
                katas.record(kata_id, "whale", reason=LONG_REASON)
        for parts in (quick, slow):
            taken = take(parts, 2 * (MANY + 2))
            for kata_id in made:
                lights = [each for each in of(kata_id, taken) if each != ("caught up",)]
                assert lights == [("whale", number) for number in range(MANY + 1)]


def test_a_storer_that_stops_ends_the_stream(
    start_storer: Callable[..., Service], client: Callable[[Service], Katas]
) -> None:
    service = start_storer()
    katas = client(service)
    made = [katas.started("whale") for _ in range(3)]
    with watching(katas, *map(watched, made)) as parts:
        take(parts, 6)
        service.stop()
        with refused(grpc.StatusCode.UNAVAILABLE, says="stopping", reason="STOPPING"):
            next(parts)


def test_as_many_katas_as_allowed_are_watched_and_no_more(katas: Katas, kata_id: str) -> None:
    many = [f"NOSUCH{number:04}" for number in range(limits.MAX_WATCHED_KATAS)]
    with watching(katas, watched(kata_id), *map(watched, many[1:])) as parts:
        taken = take(parts, limits.MAX_WATCHED_KATAS)
        assert of(kata_id, taken) == [("caught up",)]
        assert all(of(each, taken) == [("REASON_NO_SUCH_KATA",)] for each in many[1:])
    for asked in ([], [kata_id, *many]):
        with (
            watching(katas, *map(watched, asked)) as parts,
            refused(grpc.StatusCode.INVALID_ARGUMENT, field="katas", says=str(len(asked))),
        ):
            next(parts)


@pytest.mark.parametrize(
    ("second", "field"),
    [
        ({"kata_id": ""}, "katas[1].kata_id"),
        ({"kata_id": "../../etc"}, "katas[1].kata_id"),
        ({"seen": {"unicorn": 1}}, "katas[1].seen['unicorn']"),
        ({"with_edits": True, "seen_edits": {"whale": -1}}, "katas[1].seen_edits['whale']"),
        ({"kata_id": None}, "katas[1].kata_id"),
    ],
)
def test_a_malformed_kata_among_others_is_refused(
    katas: Katas, kata_id: str, second: Mapping[str, Any], field: str
) -> None:
    given = {"kata_id": UNKNOWN, **second}
    if given["kata_id"] is None:  # the first one once more
        given["kata_id"] = kata_id
    with (
        watching(katas, watched(kata_id), storer_pb2.WatchKataRequest(**given)) as parts,
        refused(grpc.StatusCode.INVALID_ARGUMENT, field=field),
    ):
        next(parts)


def test_a_refusal_is_what_a_call_about_the_kata_alone_ends_with(katas: Katas) -> None:
    with watching(katas, watched(UNKNOWN)) as parts:
        (part,) = parts
    with pytest.raises(grpc.RpcError) as caught:
        katas.get(UNKNOWN)
    alone: Any = caught.value
    error = refused_part(part.refusal)
    assert (error.code(), error.details()) == (alone.code(), alone.details())
    assert (error.reason, error.facts) == ("NO_SUCH_KATA", {"kata_id": UNKNOWN})
