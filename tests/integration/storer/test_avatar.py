"""StartAvatar and ListAvatars."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from cyberdojo.storer.v1 import storer_pb2
from dojo import avatars
from support.services import code_of
from support.storer.storing import FILES, GREEN, STARTED, Katas, at_once, refused, timestamp


def list_avatars(katas: Katas, kata_id: str) -> dict[str, storer_pb2.Light]:
    found = katas.stub.ListAvatars(storer_pb2.ListAvatarsRequest(kata_id=kata_id)).avatars
    return {each.avatar: each.newest for each in found}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_64_clients_at_once_get_64_different_names_and_the_65th_none(
    katas: Katas, kata_id: str
) -> None:
    given = at_once(lambda _: katas.start(kata_id), range(64))
    assert sorted(given) == sorted(avatars.NAMES)
    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, says=kata_id):
        katas.start(kata_id)
    assert sorted(list_avatars(katas, kata_id)) == sorted(avatars.NAMES)


def test_the_first_free_name_of_the_order_is_started(katas: Katas, kata_id: str) -> None:
    order = ("whale", "bat", "zebra")
    assert [katas.start(kata_id, *order) for _ in order] == list(order)
    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, says="all 3"):
        katas.start(kata_id, *order)
    assert katas.start(kata_id, "zebra", "fox") == "fox"


def test_one_of_many_clients_that_ask_for_a_name_gets_it(katas: Katas, kata_id: str) -> None:
    codes = at_once(lambda _: code_of(lambda: katas.start(kata_id, "whale")), range(8))
    assert sorted(codes, key=str) == sorted(
        [grpc.StatusCode.OK] + [grpc.StatusCode.RESOURCE_EXHAUSTED] * 7, key=str
    )


def test_names_are_shuffled_if_no_order_is_given(katas: Katas) -> None:
    first = [katas.start(katas.create()) for _ in range(8)]
    assert len(set(first)) > 1


def test_an_avatar_opens_with_the_katas_files(katas: Katas, kata_id: str) -> None:
    request = storer_pb2.StartAvatarRequest(kata_id=kata_id, time=timestamp(STARTED))
    assert dict(katas.stub.StartAvatar(request).files) == FILES


def test_a_sandbox_is_its_avatars_own_and_closed_to_the_others(
    katas: Katas, kata_id: str, folder: Callable[[str], Path]
) -> None:
    files = {**FILES, "sub/folder/a.txt": b"a"}
    kata_id = katas.started("whale", "zebra", files=files)
    assert avatars.uid("whale") != avatars.uid("zebra")
    for name in ("whale", "zebra"):
        sandbox = folder(kata_id) / name / "sandbox"
        assert mode(sandbox) == 0o700
        for path in (sandbox, *sandbox.rglob("*")):
            assert path.stat().st_uid == path.stat().st_gid == avatars.uid(name), path
        assert mode(sandbox / "cyber-dojo.sh") == 0o755
        assert mode(sandbox / "hiker.c") == 0o644
        found = {
            str(path.relative_to(sandbox)): path.read_bytes()
            for path in sandbox.rglob("*")
            if path.is_file()
        }
        assert found == files


def test_only_sandboxes_are_open_to_runs(katas: Katas, folder: Callable[[str], Path]) -> None:
    kata_id = katas.started("whale")
    katas.record(kata_id, "whale")
    kata = folder(kata_id)
    assert mode(kata) == 0o711
    assert (mode(kata / "whale"), (kata / "whale").stat().st_gid) == (0o710, avatars.uid("whale"))
    closed = [kata / "manifest.json", *(kata / "whale").iterdir()]
    for path in closed:
        if path.name != "sandbox":
            assert path.stat().st_uid == os.getuid()
            assert mode(path) & 0o077 == 0, path


def test_an_avatars_folder_is_laid_out_as_in_a_katas_directory(
    katas: Katas, folder: Callable[[str], Path]
) -> None:
    kata_id = katas.started("whale")
    whale = folder(kata_id) / "whale"
    assert json.loads((whale / "increments.json").read_bytes()) == []
    assert json.loads((whale / "manifest.json").read_bytes()) == {
        name: text.decode() for name, text in FILES.items()
    }


def test_avatars_are_listed_in_alphabetical_order_with_their_newest_light(katas: Katas) -> None:
    kata_id = katas.started("zebra", "bat", "whale")
    light = katas.record(kata_id, "whale", colour=GREEN, status=0)
    found = list_avatars(katas, kata_id)
    assert list(found) == ["bat", "whale", "zebra"]
    assert found["whale"] == light
    assert (found["bat"].number, found["bat"].time) == (0, timestamp(STARTED))


def test_a_kata_in_which_nobody_started_has_no_avatars(katas: Katas, kata_id: str) -> None:
    assert list_avatars(katas, kata_id) == {}


def test_one_call_lists_the_lights_of_all_avatars(katas: Katas) -> None:
    kata_id = katas.started("whale", "bat", "fox")
    for _ in range(3):
        katas.record(kata_id, "whale")
    katas.record(kata_id, "bat")
    found = katas.stub.ListLights(storer_pb2.ListLightsRequest(kata_id=kata_id)).avatars
    assert {each.avatar: [light.number for light in each.lights] for each in found} == {
        "bat": [0, 1],
        "fox": [0],
        "whale": [0, 1, 2, 3],
    }


@pytest.mark.parametrize("size", [1, 2, 3, 4, 100])
def test_pages_of_lights_together_have_all_lights(katas: Katas, size: int) -> None:
    kata_id = katas.started("whale", "bat", "fox")
    for name in ("whale", "whale", "bat"):
        katas.record(kata_id, name)
    listed: list[tuple[str, int]] = []
    token = ""
    while True:
        page = katas.stub.ListLights(
            storer_pb2.ListLightsRequest(kata_id=kata_id, page_size=size, page_token=token)
        )
        listed += [(each.avatar, light.number) for each in page.avatars for light in each.lights]
        token = page.next_page_token
        if not token:
            break
    assert listed == [
        ("bat", 0),
        ("bat", 1),
        ("fox", 0),
        ("whale", 0),
        ("whale", 1),
        ("whale", 2),
    ]


def test_the_lights_of_an_avatar_that_was_not_started_are_not_found(
    katas: Katas, kata_id: str
) -> None:
    with refused(grpc.StatusCode.NOT_FOUND, says="whale was not started"):
        katas.lights(kata_id, "whale")
