"""Katas of a saver, the service that keeps them for the dojo server of today, are imported here."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.storer.v1 import storer_pb2
from dojo import avatars, kata_ids
from support.services import Service
from support.storer import saver_katas
from support.storer.saver_katas import LAPTOP, START, Session, time
from support.storer.storing import Katas, git, timestamp

GROUP, LONE = "LyQpFr", "H8NAvN"
KOALA, LEOPARD = 26, 27
VERSIONS = pytest.mark.parametrize("version", [0, 1, 2])


@pytest.fixture
def saver(tmp_path: Path) -> Path:
    """A saver's directory, without groups or katas."""
    for name in ("groups", "katas"):
        (tmp_path / "saver" / name).mkdir(parents=True)
    return tmp_path / "saver"


@pytest.fixture
def here(
    saver: Path, start_storer: Callable[..., Service], client: Callable[[Service], Katas]
) -> Katas:
    """The katas behind a storer that imports from the saver's directory."""
    return client(start_storer(CYBER_DOJO_SAVER_DIRECTORY=str(saver)))


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
    parts = list(here.stub.VerifyKatas(storer_pb2.VerifyKatasRequest(kata_ids=[kata.kata_id])))
    assert [part for part in parts if part.HasField("finding")] == []
