"""Katas of a saver, the service that keeps them for the dojo server of today, are imported here."""

import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict

from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.storer.v1 import storer_pb2
from dojo import avatars, kata_ids
from dojo.engine.data_containers import DataContainers
from support.services import Service
from support.storer import saver_katas
from support.storer.saver_katas import LAPTOP, START, Session, time
from support.storer.storing import Katas, at_once, git, refused, timestamp, unpacked

GROUP, LONE = "LyQpFr", "H8NAvN"
KOALA, LEOPARD = 26, 27
VERSIONS = pytest.mark.parametrize("version", [0, 1, 2])


@pytest.fixture
def saver(saver_directory: Path) -> Iterator[Path]:
    """The saver's directory that the shared storer imports from."""
    yield saver_directory
    for path in saver_directory.glob("*/*"):
        shutil.rmtree(path)


@pytest.fixture
def here(katas: Katas) -> Katas:
    """The katas behind the shared storer."""
    return katas


@pytest.fixture
def start(
    start_storer: Callable[..., Service], client: Callable[[Service], Katas]
) -> Callable[..., Katas]:
    """Starts a storer with these settings, and returns its katas."""
    return lambda **settings: client(start_storer(**settings))


def id_of(old_id: str) -> str:
    return kata_ids.of_old(old_id)


def when(parts: list[int]) -> datetime:
    year, month, day, hour, minute, second, microsecond = parts
    return datetime(year, month, day, hour, minute, second, microsecond, tzinfo=UTC)


def complete(katas: Katas, partial_id: str) -> list[str]:
    request = storer_pb2.CompleteKataIdRequest(partial_id=partial_id)
    return list(katas.stub.CompleteKataId(request).kata_ids)


def kept(avatar: Path, tag: str, name: str = "light.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(git(avatar, "show", f"{tag}:{name}"))
    return found


def check_runs(katas: Katas, kata_id: str, avatar: str, session: Session) -> None:
    """Check that an avatar has the lights of a session that consists of runs alone."""
    lights = katas.lights(kata_id, avatar)
    assert [each.number for each in lights] == list(range(len(session.events)))
    for light, event in zip(lights, session.events, strict=True):
        said, number = event.said, light.number
        assert light.time == timestamp(when(said["time"]))
        files = katas.files(kata_id, avatar, number)
        assert {name: text.decode() for name, text in files.files.items()} == event.files, number
        assert files.stdout.content.decode() == event.stdout
        assert files.stderr.content.decode() == event.stderr
        if number == 0:
            assert light.colour == colour_pb2.COLOUR_UNSPECIFIED
            continue
        assert colour_pb2.Colour.Name(light.colour) == f"COLOUR_{said['colour'].upper()}"
        assert light.status == int(event.status)
        assert light.duration.ToTimedelta().total_seconds() == said["duration"]
        predicted = said["predicted"].upper().replace("NONE", "UNSPECIFIED")
        assert colour_pb2.Colour.Name(light.predicted) == f"COLOUR_{predicted}"
        assert light.stdout_truncated == ("stdout" in event.truncated)
        assert light.HasField("source") == ("revert" in said)
        if "revert" in said:
            source = (light.source.kata_id, light.source.avatar, light.source.light_number)
            assert source == (kata_id, avatar, said["revert"][1])


@VERSIONS
def test_a_group_becomes_a_kata_with_its_avatars(here: Katas, saver: Path, version: int) -> None:
    sessions = [
        saver_katas.session_of_runs("rUqcey", index=KOALA),
        saver_katas.session_of_runs("38w9NC", index=LEOPARD),
        saver_katas.Session("5rTJv5", [saver_katas.created()], index=0),
    ]
    saver_katas.write_group(saver, GROUP, sessions, version)
    kata = here.get(GROUP)
    assert kata.kata_id == id_of(GROUP)
    assert list(kata.avatars) == ["alligator", "koala", "leopard"]
    assert not kata.damaged
    assert kata.created == timestamp(when(time(0)))
    assert kata.manifest.display_name == "Ruby, MiniTest"
    assert kata.manifest.exercise == "Fizz Buzz"
    assert kata.manifest.tab_size == 2
    assert {name: text.decode() for name, text in kata.manifest.files.items()} == START
    about = MessageToDict(kata.manifest.other)["saver"]
    assert about["id"] == GROUP
    assert about["katas"]["koala"]["id"] == "rUqcey"
    for session in sessions:
        assert session.index is not None
        check_runs(here, kata.kata_id, avatars.NAMES[session.index], session)


@VERSIONS
def test_a_lone_kata_becomes_a_kata_with_one_avatar(here: Katas, saver: Path, version: int) -> None:
    session = saver_katas.session_of_runs(LONE)
    saver_katas.write(saver, session, version)
    kata = here.get(LONE)
    (avatar,) = kata.avatars
    assert {name: text.decode() for name, text in kata.manifest.files.items()} == START
    check_runs(here, kata.kata_id, avatar, session)


@VERSIONS
def test_what_was_imported_is_whole(
    here: Katas, saver: Path, version: int, folder: Callable[[str], Path]
) -> None:
    sessions = [saver_katas.session_of_runs("rUqcey", index=KOALA)]
    saver_katas.write_group(saver, GROUP, sessions, version)
    kata_id = here.get(GROUP).kata_id
    parts = list(here.stub.VerifyKatas(storer_pb2.VerifyKatasRequest(kata_ids=[kata_id])))
    assert [part for part in parts if part.HasField("finding")] == []
    avatar = folder(kata_id) / "koala"
    git(avatar, "fsck")
    # Another light follows, as in any kata.
    assert here.record(kata_id, "koala").number == 6


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"is_stale": False, "branch": "master"},
        {"is_packed": True},
        {"untagged": 9},
        {"untagged": 4},
        {"untagged": 9, "counted": {8: 7, 9: 7}},
        {"untagged": 8, "counted": {9: 8}},
    ],
)
def test_edits_between_lights_are_kept_beside_them(
    here: Katas, saver: Path, folder: Callable[[str], Path], how: dict[str, Any]
) -> None:
    other = saver_katas.session_of_runs("38w9NC", index=LEOPARD)
    session = saver_katas.session_with_edits("rUqcey", "38w9NC", LEOPARD, index=KOALA)
    session.options["theme"] = "dark"
    saver_katas.write_group(saver, GROUP, [session, other], 2, **how)
    kata = here.get(GROUP)
    lights = here.lights(kata.kata_id, "koala")
    assert [each.number for each in lights] == [0, 1, 2, 3, 4, 5]
    names = [colour_pb2.Colour.Name(each.colour).removeprefix("COLOUR_") for each in lights]
    assert names == ["UNSPECIFIED", "RED", "GREEN", "FAULTY", "GREEN", "RED"]
    assert [each.special for each in lights] == [False, False, True, False, False, False]
    assert "pulling" in lights[3].reason
    assert lights[3].status == 42
    assert lights[1].writer == LAPTOP
    assert (lights[5].added_lines, lights[5].deleted_lines) == (2, 3)
    assert lights[5].stderr_truncated
    revert, checkout = lights[4].source, lights[5].source
    assert (revert.kata_id, revert.avatar, revert.light_number) == (kata.kata_id, "koala", 2)
    assert (checkout.kata_id, checkout.avatar, checkout.light_number) == (
        kata.kata_id,
        "leopard",
        1,
    )
    avatar = folder(kata.kata_id) / "koala"
    edits = ["1.1", "1.2", "2.1", "5.1"]
    assert git(avatar, "tag").decode().split() == sorted([*map(str, range(6)), *edits])
    expected: list[dict[str, object]] = [
        {
            "changes": [{"kind": "changed", "filename": "hiker.rb"}],
            "added_lines": 1,
            "deleted_lines": 1,
        },
        {"changes": [{"kind": "created", "filename": "new.rb"}]},
        {"changes": [{"kind": "renamed", "filename": "newer.rb", "was": "new.rb"}]},
        {"changes": [{"kind": "deleted", "filename": "empty.txt"}]},
    ]
    indexes = [2, 3, 5, 9]
    for tag, fields, index in zip(edits, expected, indexes, strict=True):
        edit = kept(avatar, tag, "edit.json")
        assert edit.items() >= fields.items()
        assert edit["saver"]["event"] == session.events[index].said
        files = git(avatar, "ls-tree", "-r", "--name-only", tag, "sandbox/").decode().split()
        assert files == sorted(f"sandbox/{name}" for name in session.events[index].files)
    assert git(avatar, "log", "--format=%s", "1.2").decode().split("\n")[:4] == [
        "1.2 created",
        "1.1 changed",
        "1 red",
        "0",
    ]
    assert kept(avatar, "1")["saver"]["event"] == session.events[1].said
    about = MessageToDict(kata.manifest.other)["saver"]
    assert about["katas"]["koala"]["options"]["theme"] == "dark"
    own = storer_pb2.Options(theme=storer_pb2.THEME_DARK)
    assert kata.options == storer_pb2.KataOptions(kata=storer_pb2.Options(), avatars={"koala": own})
    parts = list(here.stub.VerifyKatas(storer_pb2.VerifyKatasRequest(kata_ids=[kata.kata_id])))
    assert [part for part in parts if part.HasField("finding")] == []


# --- old ids


def test_an_old_id_is_completed_and_leads_to_the_kata(here: Katas, saver: Path) -> None:
    sessions = [saver_katas.session_of_runs("rUqcey", index=KOALA)]
    saver_katas.write_group(saver, GROUP, sessions, 1)
    saver_katas.write(saver, saver_katas.session_of_runs(LONE), 0)
    for _ in ("before it is imported", "and after that"):
        for old_id in (GROUP, "rUqcey", GROUP.lower(), "RUQCEY"):
            assert complete(here, old_id) == [id_of(GROUP)]
        assert complete(here, LONE) == complete(here, f"{LONE}do") == [id_of(LONE)]
        assert here.get("rUqcey").kata_id == here.get(GROUP).kata_id == id_of(GROUP)
        assert here.import_("rUqcey").kata_id == id_of(GROUP)
        assert here.get(LONE).kata_id == id_of(LONE)
    for unknown in ("abcdef", "RUQCEY"):
        with refused(grpc.StatusCode.NOT_FOUND):
            here.get(unknown)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="kata_id"):
        here.get("rUqcIo")  # a saver has no such letters


def test_a_list_has_the_katas_of_a_saver_each_once(here: Katas, saver: Path) -> None:
    ids = ["1aBcDe", "H8NAvN", "H8NAvP", "zzzzzz"]
    for old_id in ids:
        saver_katas.write(saver, saver_katas.session_of_runs(old_id), 1)
    session = saver_katas.session_with_edits("rUqcey", "38w9NC", LEOPARD, index=KOALA)
    saver_katas.write_group(saver, GROUP, [session], 2, is_stale=False)
    own = here.create()
    here.import_("H8NAvP")
    expected = sorted([own, *map(id_of, [*ids, GROUP])])
    token, found = "", list[storer_pb2.ListedKata]()
    while True:
        request = storer_pb2.ListKatasRequest(page_size=2, page_token=token, with_details=True)
        page = here.stub.ListKatas(request)
        found += [each for each in page.katas if each.kata_id in expected]
        if not (token := page.next_page_token):
            break
    assert [each.kata_id for each in found] == expected
    by_id = {each.kata_id: each for each in found}
    group = by_id[id_of(GROUP)]
    assert group.source == storer_pb2.KATA_SOURCE_KATAS_DIRECTORY
    assert group.details.display_name == "Ruby, MiniTest"
    assert (group.details.avatar_count, group.details.light_count) == (1, 5)
    assert group.details.newest == timestamp(when(time(7)))
    assert by_id[id_of("H8NAvP")].source == storer_pb2.KATA_SOURCE_DATA_CONTAINER
    listed = here.stub.ListKatas(storer_pb2.ListKatasRequest(prefix="h8na", ignore_case=True))
    assert [each.kata_id for each in listed.katas] == [id_of("H8NAvN"), id_of("H8NAvP")]


def test_a_deleted_kata_of_a_saver_stays_away(here: Katas, saver: Path) -> None:
    sessions = [saver_katas.session_of_runs("rUqcey", index=KOALA)]
    saver_katas.write_group(saver, GROUP, sessions, 1)
    here.import_(GROUP)
    before = sorted(path.stat().st_mtime_ns for path in saver.rglob("*"))
    request = storer_pb2.DeleteKataRequest(kata_id=id_of(GROUP))
    assert here.stub.DeleteKata(request).stays_in_katas_directory
    assert complete(here, GROUP) == complete(here, "rUqcey") == []
    for old_id in (GROUP, "rUqcey"):
        with refused(grpc.StatusCode.NOT_FOUND):
            here.get(old_id)
    assert list(here.import_(GROUP, undelete=True).avatars) == ["koala"]
    assert here.get("rUqcey").kata_id == id_of(GROUP)
    assert sorted(path.stat().st_mtime_ns for path in saver.rglob("*")) == before


def test_old_ids_go_with_a_kata_into_the_archive_and_a_backup(
    saver: Path,
    tmp_path: Path,
    start: Callable[..., Katas],
    katas_elsewhere: Katas,
    data_containers: DataContainers,
) -> None:
    sessions = [
        saver_katas.session_of_runs("38w9NC", index=LEOPARD),
        saver_katas.session_with_edits("rUqcey", "38w9NC", LEOPARD, index=KOALA),
    ]
    saver_katas.write_group(saver, GROUP, sessions, 2)
    archive = str(tmp_path / "archive")
    here = start(CYBER_DOJO_SAVER_DIRECTORY=str(saver), CYBER_DOJO_ARCHIVE=archive)
    kata_id = here.get(GROUP).kata_id
    lights = here.lights(kata_id, "koala")
    tar = here.tar(kata_id)
    edits = tags_of(tar, tmp_path / "downloaded", kata_id)
    assert edits >= {"1.1", "1.2", "2.1", "5.1"}
    # Another storer on the same engine knows them without the saver's directory.
    without = start(CYBER_DOJO_ARCHIVE=archive)
    assert without.get("rUqcey").kata_id == kata_id
    here.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=kata_id))
    volume = data_containers.namespace.old_ids
    data_containers.engine.api.remove_volume(volume)  # as on a new machine
    assert complete(without, "rUqcey") == complete(without, GROUP.lower()) == [kata_id]
    assert complete(without, "38W9nc") == [kata_id]
    assert without.get("38w9NC").kata_id == kata_id
    assert without.lights(kata_id, "koala") == lights
    assert tags_of(without.tar(kata_id), tmp_path / "fetched", kata_id) == edits
    parts = list(without.stub.VerifyKatas(storer_pb2.VerifyKatasRequest(kata_ids=[kata_id])))
    assert [part for part in parts if part.HasField("finding")] == []
    # And a tar brings them to a storer that never saw the saver.
    assert not katas_elsewhere.restore(tar).damaged
    assert katas_elsewhere.get("rUqcey").kata_id == kata_id
    assert katas_elsewhere.lights(kata_id, "koala") == lights
    assert tags_of(katas_elsewhere.tar(kata_id), tmp_path / "restored", kata_id) == edits


def tags_of(tar: bytes, folder: Path, kata_id: str) -> set[str]:
    """Return the tags of the koala in a kata's tar; check that git finds nothing wrong."""
    avatar = unpacked(tar, folder, kata_id) / "koala"
    git(avatar, "fsck")
    assert git(avatar, "status", "--porcelain") == b""
    return set(git(avatar, "tag").decode().split())


def test_two_storers_import_the_same_group_at_once(
    saver: Path, start: Callable[..., Katas]
) -> None:
    session = saver_katas.session_of_runs("rUqcey", index=KOALA)
    saver_katas.write_group(saver, GROUP, [session], 2)
    both = [start(CYBER_DOJO_SAVER_DIRECTORY=str(saver)) for _ in range(2)]
    found = at_once(lambda katas: katas.get("rUqcey"), [*both, *both])
    assert {each.kata_id for each in found} == {id_of(GROUP)}
    check_runs(both[1], id_of(GROUP), "koala", session)


def test_an_old_id_is_whole_where_more_characters_of_an_id_are_required(
    saver: Path, start: Callable[..., Katas]
) -> None:
    session = saver_katas.session_of_runs("rUqcey", index=KOALA)
    saver_katas.write_group(saver, GROUP, [session], 1)
    strict = start(CYBER_DOJO_SAVER_DIRECTORY=str(saver), CYBER_DOJO_SHORTEST_PARTIAL_ID="8")
    for old_id in (GROUP, "rUqcey"):
        assert complete(strict, old_id) == [id_of(GROUP)]
    for partial_id in (GROUP.lower(), strict.create()[:6]):
        with refused(grpc.StatusCode.INVALID_ARGUMENT, field="partial_id"):
            complete(strict, partial_id)


# --- odd facts


def test_an_outage_of_versions_0_and_1_leaves_no_gap_between_lights(
    here: Katas, saver: Path
) -> None:
    runs = saver_katas.session_of_runs("1aaaaa")
    runs.events = runs.events[:3]
    folder = saver_katas.write(saver, runs, 1, indexes=[0, 1, 24])
    assert (folder / "24.event.json").exists()
    (avatar,) = here.get("1aaaaa").avatars
    check_runs(here, id_of("1aaaaa"), avatar, runs)
    runs.id = "2aaaaa"
    folder = saver_katas.write(saver, runs, 0)
    (folder / "2").rename(folder / "24")
    (avatar,) = here.get("2aaaaa").avatars
    check_runs(here, id_of("2aaaaa"), avatar, runs)


def test_an_outage_of_version_2_is_kept_as_an_edit(
    here: Katas, saver: Path, folder: Callable[[str], Path]
) -> None:
    runs = saver_katas.session_of_runs(LONE)
    outage = saver_katas.Event({"event": "outage"}, runs.events[2].files)
    runs.events = [*runs.events[:2], outage, runs.events[2]]
    saver_katas.write(saver, runs, 2)
    (avatar,) = here.get(LONE).avatars
    assert [each.number for each in here.lights(id_of(LONE), avatar)] == [0, 1, 2]
    edit = kept(folder(id_of(LONE)) / avatar, "1.1", "edit.json")
    assert edit["outage"] is True
    assert edit["time"] == saver_katas.time(1)


@pytest.mark.parametrize("version", [0, 1])
def test_an_event_that_a_saver_died_before_it_listed_is_a_light(
    here: Katas, saver: Path, version: int
) -> None:
    runs = saver_katas.session_of_runs(LONE)
    listed = saver_katas.write(saver, runs, version) / "events.json"
    whole = listed.read_text()
    listed.write_text(whole[: whole.rindex("{") + 9])  # it was about to
    (avatar,) = here.get(LONE).avatars
    lights = here.lights(id_of(LONE), avatar)
    assert [each.number for each in lights] == [0, 1, 2, 3, 4, 5]
    assert here.files(id_of(LONE), avatar, 5).stdout.content == b"again\n"
    # Of version 0, nobody knows its colour.
    expected = colour_pb2.COLOUR_RED if version else colour_pb2.COLOUR_FAULTY
    assert lights[5].colour == expected


@pytest.mark.parametrize("content", [None, b"", b'{"files":{"hiker.rb":{"con'])
@pytest.mark.parametrize("version", [0, 1])
def test_what_a_full_disk_left_of_an_event_is_no_light(
    here: Katas, saver: Path, version: int, content: bytes | None
) -> None:
    runs = saver_katas.session_of_runs(LONE)
    folder = saver_katas.write(saver, runs, version)
    for index in (5, 7) if version == 0 else (6,):
        if version == 0:
            if index == 5:  # the next one that could be recorded
                (folder / "5").rename(folder / "6")
            (folder / str(index)).mkdir()
        if content is not None:
            name = f"{index}/event.json" if version == 0 else f"{index}.event.json"
            (folder / name).write_bytes(content)
    (avatar,) = here.get(LONE).avatars
    check_runs(here, id_of(LONE), avatar, runs)


def test_what_has_no_place_here_is_kept_beside_the_light(
    here: Katas, saver: Path, folder: Callable[[str], Path]
) -> None:
    odd = [
        saver_katas.created(),
        saver_katas.ran("red", [2021, 6, 12, 7, 57, 895675], START, status=-1, duration="long"),
        saver_katas.ran(None, saver_katas.time(2), START, status="timed_out", predicted=["red"]),
        saver_katas.ran("create", saver_katas.time(3), START, revert=["zzzzzz", 0], new={"a": [1]}),
    ]
    saver_katas.write(saver, Session(LONE, odd), 1)
    (avatar,) = here.get(LONE).avatars
    lights = here.lights(id_of(LONE), avatar)
    assert lights[1].time == lights[0].time  # its own is none
    assert [each.colour for each in lights[2:]] == [colour_pb2.COLOUR_FAULTY] * 2
    assert all(each.reason for each in lights[2:])
    assert not any(each.HasField("source") or each.HasField("duration") for each in lights[:2])
    where = folder(id_of(LONE)) / avatar
    assert kept(where, "1")["saver"]["status"] == "-1"
    assert kept(where, "2")["saver"]["status"] == "timed_out"
    assert kept(where, "3")["saver"]["event"] == {"index": 3, **odd[3].said}


def test_files_that_were_cut_off_are_named(
    here: Katas, saver: Path, folder: Callable[[str], Path]
) -> None:
    path = saver_katas.write(saver, saver_katas.session_of_runs(LONE), 1) / "1.event.json"
    event = json.loads(path.read_text())
    event["files"]["hiker.rb"]["truncated"] = True
    path.write_text(json.dumps(event))
    (avatar,) = here.get(LONE).avatars
    assert kept(folder(id_of(LONE)) / avatar, "1")["saver"]["truncated_files"] == ["hiker.rb"]


def test_a_manifest_with_a_value_of_no_use_is_used_without_it(here: Katas, saver: Path) -> None:
    session = saver_katas.session_of_runs("rUqcey", index=KOALA)
    path = saver_katas.write_group(saver, GROUP, [session], 1) / "manifest.json"
    odd = {"tab_size": "four", "progress_regexs": {"a": 1}, "exercise": None}
    path.write_text(json.dumps({**json.loads(path.read_text()), **odd}))
    kata = here.get(GROUP)
    assert kata.manifest.tab_size == 4
    about = MessageToDict(kata.manifest.other)["saver"]
    assert about["unusable"] == {"tab_size": "four", "progress_regexs": {"a": 1}}
    check_runs(here, kata.kata_id, "koala", session)


def test_an_old_id_that_two_groups_list_leads_to_the_first(here: Katas, saver: Path) -> None:
    session = saver_katas.session_of_runs("rUqcey", index=KOALA)
    saver_katas.write_group(saver, GROUP, [session], 1)
    other = saver_katas.write_group(saver, "REf1t8", [], 1)
    (other / "katas.txt").write_text(f"rUqcey {LEOPARD}\n")
    assert list(here.get(GROUP).avatars) == ["koala"]
    assert list(here.get("REf1t8").avatars) == ["leopard"]
    assert here.get("rUqcey").kata_id == id_of(GROUP)


def test_a_kata_that_its_group_does_not_list_comes_in_alone(here: Katas, saver: Path) -> None:
    listed = saver_katas.session_of_runs("rUqcey", index=KOALA)
    lost = saver_katas.session_of_runs("38w9NC", index=LEOPARD)
    group = saver_katas.write_group(saver, GROUP, [listed, lost], 1)
    (group / "katas.txt").write_text(f"rUqcey {KOALA}\nG2ws77 {KOALA}\nrUqcey 3\nabcdef 64\n")
    kata = here.get(GROUP)
    assert list(kata.avatars) == ["koala"]
    about = MessageToDict(kata.manifest.other)["saver"]
    assert about["unplaced"] == [f"G2ws77 {KOALA}", "rUqcey 3", "abcdef 64"]
    assert list(here.get("38w9NC").avatars) == ["leopard"]
    check_runs(here, id_of("38w9NC"), "leopard", lost)


# --- damage, and hostile files

DAMAGES = {
    "a kata that is missing": lambda path: path.rename(path.with_name("away")),
    "no list": lambda path: (path / "events.json").unlink(),
    "a list that is no JSON": lambda path: (path / "events.json").write_text("{]\n{]\n{]"),
    "a list of numbers": lambda path: (path / "events.json").write_text("1\n2\n"),
    "deep JSON": lambda path: (path / "events.json").write_text("[" * 200_000),
    "a content that is missing": lambda path: (path / "2.event.json").unlink(),
    "a content that leads out": lambda path: link(path / "2.event.json", "/etc/passwd"),
    "a list that leads out": lambda path: link(path / "events.json", "/etc/passwd"),
    "a pipe": lambda path: pipe(path / "events.json"),
    "a filename that leads out": lambda path: rename_file(path / "1.event.json", "../../x"),
    "a filename of git": lambda path: rename_file(path / "1.event.json", ".git/config"),
    "a content without files": lambda path: (path / "1.event.json").write_text("{}"),
    "a huge file": lambda path: os.truncate(path / "3.event.json", 2**40),
    "a manifest without an end": lambda path: (path / "manifest.json").write_text('{"a": '),
    "a manifest that is too much": lambda path: (path / "manifest.json").write_text(
        json.dumps({"group_id": GROUP, "more": "x" * 100_000})
    ),
    "a manifest that is too deep": lambda path: (path / "manifest.json").write_text(
        f'{{"group_id": "{GROUP}", "more": {"[" * 90}{"]" * 90}}}'
    ),
}


def link(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def rename_file(path: Path, name: str) -> None:
    event = json.loads(path.read_text())
    event["files"][name] = event["files"].pop("hiker.rb")
    path.write_text(json.dumps(event))


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_of_a_group_takes_nobody_else_along(
    here: Katas, saver: Path, damage: str
) -> None:
    whole = saver_katas.session_of_runs("rUqcey", index=KOALA)
    sessions = [whole, saver_katas.session_of_runs("38w9NC", index=LEOPARD)]
    saver_katas.write_group(saver, GROUP, sessions, 1)
    DAMAGES[damage](saver_katas.folder_of(saver, "katas", "38w9NC"))
    kata = here.get(GROUP)
    assert list(kata.avatars) == ["koala", "leopard"]
    (damaged,) = kata.damaged
    assert damaged.avatar == "leopard"
    assert damaged.reason
    assert "katas/38/w9/NC" in damaged.path
    check_runs(here, kata.kata_id, "koala", whole)
    assert here.record(kata.kata_id, "koala").number == 6


GIT_DAMAGES: dict[str, Callable[[Path], object]] = {
    "an object that is missing": lambda path: needed(path).unlink(),
    "an object that is another": lambda path: needed(path).write_bytes(
        zlib.compress(b"blob 3\0abc")
    ),
    "an object that is a bomb": lambda path: needed(path).write_bytes(
        zlib.compress(b"blob %d\0" % 2**30 + bytes(2**30))
    ),
    "an object that is a pipe": lambda path: pipe(needed(path)),
    "no HEAD": lambda path: (path / "HEAD").unlink(),
    "tags without commits": lambda path: [
        tag.write_text("0" * 40) for tag in path.glob("refs/tags/*")
    ],
    "objects elsewhere": lambda path: link_folder(path / "objects", "/etc"),
}


def needed(repository: Path) -> Path:
    """Return the file of an object that an event needs."""
    name = git(repository, "rev-parse", "3^{tree}").decode().strip()
    return repository / "objects" / name[:2] / name[2:]


def link_folder(path: Path, target: str) -> None:
    path.rename(path.with_name("away"))
    path.symlink_to(target)


@pytest.mark.parametrize("damage", GIT_DAMAGES)
def test_a_damaged_repository_takes_nobody_else_along(
    here: Katas, saver: Path, damage: str
) -> None:
    whole = saver_katas.session_of_runs("rUqcey", index=KOALA)
    sessions = [whole, saver_katas.session_of_runs("38w9NC", index=LEOPARD)]
    saver_katas.write_group(saver, GROUP, sessions, 2)
    GIT_DAMAGES[damage](saver_katas.folder_of(saver, "katas", "38w9NC") / ".git")
    kata = here.get(GROUP)
    assert [each.avatar for each in kata.damaged] == ["leopard"]
    check_runs(here, kata.kata_id, "koala", whole)


def test_settings_and_hooks_of_a_repository_are_not_followed(
    here: Katas, saver: Path, folder: Callable[[str], Path]
) -> None:
    session = saver_katas.session_of_runs(LONE)
    hostile = saver_katas.write(saver, session, 2) / ".git"
    (hostile / "config").write_text("[core]\n\tworktree = /\n\tfsmonitor = touch /tmp/owned\n")
    (hostile / "objects/info/alternates").write_text("/etc\n")
    (hostile / "hooks").mkdir(exist_ok=True)
    (hostile / "hooks/post-checkout").write_text("#!/bin/sh\nexit 1\n")
    (avatar,) = here.get(LONE).avatars
    check_runs(here, id_of(LONE), avatar, session)
    came = folder(id_of(LONE)) / avatar / ".git"
    assert "fsmonitor" not in (came / "config").read_text()
    assert not (came / "hooks").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "manifest.json").write_text("{"),
        lambda path: (path / "manifest.json").write_text('{"created": [1]}'),
        lambda path: folder_instead(path / "katas.txt"),
    ],
)
def test_a_damaged_group_is_refused_and_the_others_come_in(
    here: Katas, saver: Path, damage: Callable[[Path], object]
) -> None:
    session = saver_katas.session_of_runs("rUqcey", index=KOALA)
    damage(saver_katas.write_group(saver, GROUP, [session], 1))
    saver_katas.write(saver, saver_katas.session_of_runs(LONE), 1)
    with refused(grpc.StatusCode.DATA_LOSS):
        here.get(GROUP)
    assert len(here.get(LONE).avatars) == 1
    listed = here.stub.ListKatas(storer_pb2.ListKatasRequest(with_details=True)).katas
    assert {GROUP, LONE} <= {each.kata_id[:6] for each in listed}
