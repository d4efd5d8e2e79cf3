"""CreateKata, GetKata, CompleteKataId, ListKatas, ForkKata, DeleteKata."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.storer.v1 import storer_pb2
from dojo import locks
from dojo.engine.data_containers import DataContainers
from support.services import code_of
from support.storer.katas_directories import (
    ALL,
    BUFFALO,
    GORILLA,
    SNAKE,
    SPIDER,
)
from support.storer.storing import (
    CREATED,
    FILES,
    GREEN,
    Katas,
    a_manifest,
    at_once,
    refused,
    timestamp,
)

IMPORTABLE = sorted(kata.id for kata in ALL)


def list_katas(katas: Katas, **request: Any) -> storer_pb2.ListKatasResponse:
    return katas.stub.ListKatas(storer_pb2.ListKatasRequest(**request))


def complete(katas: Katas, partial_id: str) -> storer_pb2.CompleteKataIdResponse:
    return katas.stub.CompleteKataId(storer_pb2.CompleteKataIdRequest(partial_id=partial_id))


def fork(katas: Katas, kata_id: str, avatar: str, number: int) -> str:
    request = storer_pb2.ForkKataRequest(
        kata_id=kata_id, avatar=avatar, light_number=number, created=timestamp(CREATED)
    )
    return katas.stub.ForkKata(request).kata_id


def test_a_kata_gets_an_id_of_10_upper_case_hexadecimal_digits(katas: Katas) -> None:
    assert re.fullmatch("[0-9A-F]{10}", katas.create())


def test_a_kata_has_everything_that_it_was_created_with(katas: Katas) -> None:
    other = Struct()
    other.update({"runner_choice": "stateful", "nested": {"list": [1, "two", None, True]}})
    rule = colour_pb2.ColourRule(
        patterns=colour_pb2.ColourPatterns(
            patterns=[
                colour_pb2.ColourPattern(
                    colour=GREEN, pattern="All tests passed", stream=colour_pb2.STREAM_STDOUT
                )
            ]
        )
    )
    manifest = a_manifest(
        {**FILES, "binary": b"\x00\xff\xfe", "sub/folder/é.txt": "é".encode()},
        exercise="Fizz_Buzz",
        filename_extensions=[".c", ".h"],
        max_seconds=15,
        tab_size=3,
        colour_rule=rule,
        highlight_filenames=["hiker.c"],
        progress_regexs=["a+", "b+"],
        hidden_filenames=[r".*\.o"],
        other=other,
    )
    request = storer_pb2.CreateKataRequest(manifest=manifest, created=timestamp(CREATED))
    kata_id = katas.stub.CreateKata(request).kata_id
    found = katas.get(kata_id)
    assert found.kata_id == kata_id
    assert MessageToDict(found.manifest) == MessageToDict(manifest)
    assert found.created == timestamp(CREATED)
    assert list(found.avatars) == []


def test_the_defaults_are_10_seconds_and_tabs_of_4_columns(katas: Katas) -> None:
    manifest = katas.get(katas.create()).manifest
    assert (manifest.max_seconds, manifest.tab_size) == (10, 4)


def test_a_kata_is_a_manifest_in_its_volume(katas: Katas, folder: Callable[[str], Path]) -> None:
    kata_id = katas.create()
    assert [path.name for path in folder(kata_id).iterdir()] == ["manifest.json"]
    manifest = json.loads((folder(kata_id) / "manifest.json").read_bytes())
    assert manifest["id"] == kata_id
    assert manifest["created"] == [2019, 1, 16, 12, 44, 55]
    assert manifest["visible_files"] == {name: text.decode() for name, text in FILES.items()}


def test_a_kata_names_its_started_avatars_in_alphabetical_order(katas: Katas) -> None:
    kata_id = katas.started("zebra", "bat", "whale")
    assert list(katas.get(kata_id).avatars) == ["bat", "whale", "zebra"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"display_name": ""}, "manifest.display_name"),
        ({"image_name": ""}, "manifest.image_name"),
        ({"files": {}}, "manifest.files"),
        ({"tab_size": 17}, "manifest.tab_size"),
        ({"files": {"../x": b""}}, "manifest.files['../x']"),
    ],
)
def test_an_incomplete_manifest_creates_no_kata(
    katas: Katas, data_containers: DataContainers, change: dict[str, Any], field: str
) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field=field):
        katas.create(**change)
    assert not list(data_containers.kata_ids())


def test_other_keys_may_not_repeat_a_field(katas: Katas) -> None:
    other = Struct()
    other.update({"image_name": "another"})
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="manifest.other.image_name"):
        katas.create(other=other)


def test_a_partial_id_completes_to_every_id_that_begins_with_it(katas: Katas) -> None:
    kata_id = katas.create()
    found = complete(katas, kata_id[:9])
    assert kata_id in found.kata_ids
    assert not found.truncated
    assert list(complete(katas, SPIDER.id[:6]).kata_ids) == [SPIDER.id]
    assert list(complete(katas, SPIDER.id).kata_ids) == [SPIDER.id]


def test_a_partial_id_finds_ids_of_another_case_too(katas: Katas) -> None:
    assert list(complete(katas, SPIDER.id[:6].lower()).kata_ids) == [SPIDER.id]
    assert list(complete(katas, GORILLA.id[:6].swapcase()).kata_ids) == [GORILLA.id]


def test_ids_in_the_case_that_was_typed_come_first(
    katas: Katas, data_containers: DataContainers
) -> None:
    for kata_id in ("abcdefABCD", "ABCDEFabcd", "AbcdefABCD"):
        (data_containers.create(kata_id) / "manifest.json").write_text("{}")
    assert list(complete(katas, "abcdef").kata_ids) == ["abcdefABCD", "ABCDEFabcd", "AbcdefABCD"]
    assert list(complete(katas, "Abcdef").kata_ids) == ["AbcdefABCD", "ABCDEFabcd", "abcdefABCD"]


def test_a_partial_id_without_matches_is_no_error(katas: Katas) -> None:
    assert list(complete(katas, "000000").kata_ids) == []


@pytest.mark.parametrize("partial_id", ["", "7C4E1", "7C4E19D2B61", "7C4E1*", "../../"])
def test_a_partial_id_has_6_to_10_characters(katas: Katas, partial_id: str) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="partial_id"):
        complete(katas, partial_id)


def test_completing_an_id_imports_nothing(katas: Katas, data_containers: DataContainers) -> None:
    complete(katas, SPIDER.id[:6])
    assert not data_containers.folder(SPIDER.id).exists()


def test_katas_are_listed_in_order_each_with_its_place(katas: Katas) -> None:
    katas.import_(SNAKE.id)
    found = list_katas(katas).katas
    assert [each.kata_id for each in found] == IMPORTABLE
    here = [each.kata_id for each in found if each.source == storer_pb2.KATA_SOURCE_DATA_CONTAINER]
    assert here == [SNAKE.id]


def test_pages_of_katas_together_have_all_katas(katas: Katas) -> None:
    made = [katas.create() for _ in range(4)]
    listed: list[str] = []
    token = ""
    while True:
        page = list_katas(katas, page_size=3, page_token=token)
        listed += [each.kata_id for each in page.katas]
        assert len(page.katas) <= 3
        token = page.next_page_token
        if not token:
            break
        assert len(page.katas) == 3
    assert listed == sorted([*IMPORTABLE, *made])


def test_a_page_continues_the_previous_one_even_if_its_last_kata_is_gone(
    katas: Katas,
) -> None:
    made = sorted(katas.create() for _ in range(3))
    first = list_katas(katas, page_size=1, prefix=made[0][:1])
    katas.delete(made[0])
    if first.katas[0].kata_id == made[0]:
        assert made[0] not in [
            each.kata_id for each in list_katas(katas, page_token=first.next_page_token).katas
        ]


def test_katas_are_listed_by_prefix(katas: Katas) -> None:
    assert [each.kata_id for each in list_katas(katas, prefix="60").katas] == [
        kata_id for kata_id in IMPORTABLE if kata_id.startswith("60")
    ]
    assert not list_katas(katas, prefix=SPIDER.id[:2].lower()).katas


def test_a_fork_starts_from_the_files_of_a_light(katas: Katas) -> None:
    kata_id = katas.started("whale")
    changed = {**FILES, "hiker.c": b"int answer = 42;\n", "new.h": b"\x00\x01"}
    katas.record(kata_id, "whale", changed)
    forked = fork(katas, kata_id, "whale", -1)
    parent, found = katas.get(kata_id), katas.get(forked)
    assert forked != kata_id
    assert dict(found.manifest.files) == changed
    assert found.manifest.image_name == parent.manifest.image_name
    assert found.created == timestamp(CREATED)
    assert MessageToDict(found.manifest.other)["forked_from"] == {
        "id": kata_id,
        "avatar": "whale",
        "number": 1,
    }
    assert dict(katas.get(fork(katas, kata_id, "whale", 0)).manifest.files) == FILES


def test_a_fork_outlives_its_parent(katas: Katas) -> None:
    kata_id = katas.started("whale")
    forked = fork(katas, kata_id, "whale", 0)
    katas.delete(kata_id)
    assert katas.start(forked, "zebra") == "zebra"


def test_a_legacy_kata_can_be_forked(katas: Katas) -> None:
    forked = fork(katas, BUFFALO.id, "buffalo", 20)
    assert dict(katas.get(forked).manifest.files) == dict(
        katas.files(BUFFALO.id, "buffalo", 20).files
    )


def test_forking_an_unknown_light_or_avatar_creates_no_kata(
    katas: Katas, data_containers: DataContainers
) -> None:
    kata_id = katas.started("whale")
    with refused(grpc.StatusCode.NOT_FOUND):
        fork(katas, kata_id, "whale", 1)
    with refused(grpc.StatusCode.NOT_FOUND):
        fork(katas, kata_id, "zebra", 0)
    assert list(data_containers.kata_ids()) == [kata_id]


def test_a_deleted_kata_is_gone_with_container_and_volume(
    katas: Katas, data_containers: DataContainers
) -> None:
    kata_id = katas.started("whale")
    name = data_containers.namespace.kata(kata_id)
    katas.delete(kata_id)
    with refused(grpc.StatusCode.NOT_FOUND):
        katas.get(kata_id)
    api = data_containers.engine.api
    assert not api.containers(all=True, filters={"name": name})
    assert not api.volumes(filters={"name": name})["Volumes"]


def test_a_kata_cannot_be_deleted_twice(katas: Katas) -> None:
    kata_id = katas.create()
    katas.delete(kata_id)
    with refused(grpc.StatusCode.NOT_FOUND):
        katas.delete(kata_id)


def test_deleting_does_not_touch_the_katas_directory(
    katas: Katas, katas_directory: Path, data_containers: DataContainers
) -> None:
    katas.import_(SPIDER.id)
    katas.delete(SPIDER.id)
    assert (SPIDER.folder(katas_directory) / "manifest.json").exists()
    assert not data_containers.folder(SPIDER.id).exists()
    with refused(grpc.StatusCode.NOT_FOUND):
        katas.get(SPIDER.id)


def test_deleting_a_kata_ends_a_run_that_holds_its_volume(
    katas: Katas, data_containers: DataContainers
) -> None:
    kata_id = katas.create()
    api = data_containers.engine.api
    run = api.create_container(
        "cyberdojofoundation/gcc_assert",
        ["sleep", "60"],
        labels=data_containers.namespace.labels("run"),
        host_config=api.create_host_config(
            volumes_from=[data_containers.namespace.kata(kata_id)], network_mode="none"
        ),
    )
    api.start(run)
    katas.delete(kata_id)
    assert not data_containers.folder(kata_id).exists()
    assert not api.containers(all=True, filters={"id": run["Id"]})


def test_a_kata_that_is_read_while_it_is_deleted_leaves_nothing(
    katas: Katas, data_containers: DataContainers
) -> None:
    allowed = {grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND}
    for _ in range(8):
        kata_id = katas.started("whale")
        calls: list[Callable[[], object]] = [
            lambda: katas.get(kata_id),  # noqa: B023 - called within the turn
            lambda: katas.record(kata_id, "whale"),  # noqa: B023
            lambda: katas.delete(kata_id),  # noqa: B023
        ] * 4
        assert set(at_once(code_of, calls)) <= allowed
        assert not data_containers.folder(kata_id).exists()


def test_of_two_who_delete_a_kata_at_once_one_is_told_that_there_is_none(
    katas: Katas, kata_id: str, folder: Callable[[str], Path]
) -> None:
    request = storer_pb2.DeleteKataRequest(kata_id=kata_id)
    with locks.locked(folder(kata_id)):  # until both have found the kata
        calls = [katas.stub.DeleteKata.future(request) for _ in range(2)]
        with pytest.raises(grpc.FutureTimeoutError):
            calls[0].result(timeout=0.5)
    codes = [call.code() for call in calls]
    assert sorted(code.name for code in codes) == ["NOT_FOUND", "OK"]
