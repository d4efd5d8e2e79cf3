"""ForkKata with the avatar: somebody goes on from a light, in a kata of their own."""

from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import pygit2
import pytest
from google.protobuf.json_format import MessageToDict

from cyberdojo.results.v1 import results_pb2
from cyberdojo.runner.v1 import runner_pb2, runner_pb2_grpc
from cyberdojo.storer.v1 import storer_pb2
from dojo.engine.data_containers import DataContainers
from support.runner.submissions import PYTHON
from support.services import Service
from support.storer import backups
from support.storer.katas_directories import LegacyKata, params
from support.storer.storing import (
    CREATED,
    FILES,
    GREEN,
    RED,
    Katas,
    git,
    refused,
    timestamp,
    unpacked,
)
from support.storer.verifying import object_path, verify

LATER = timestamp(CREATED + timedelta(days=400))


def fork(katas: Katas, kata_id: str, avatar: str, number: int = -1, **fields: Any) -> str:
    """Fork an avatar's kata with the avatar; return the new kata's id."""
    request = storer_pb2.ForkKataRequest(
        kata_id=kata_id,
        avatar=avatar,
        light_number=number,
        created=LATER,
        with_avatar=True,
        **fields,
    )
    return katas.stub.ForkKata(request).kata_id


def session(katas: Katas) -> str:
    """Make a kata in which the whale has four lights with all that lights can have, and edits."""
    kata_id = katas.started("whale", "zebra")
    katas.record(kata_id, "zebra", {"cyber-dojo.sh": b"only the zebra's\n"})
    edit(katas, kata_id, {**FILES, "first": b"before the first light\n"})
    results = results_pb2.TestResults(tests=[results_pb2.TestResult(name="answer", message="54")])
    katas.record(kata_id, "whale", stdout=b"out\n", stderr=b"err\n", test_results=results)
    edit(katas, kata_id, {**FILES, "in-between": b"\x00\xff"})
    edit(katas, kata_id, {**FILES, "hiker.c": b"int answer;\n"})
    katas.record(kata_id, "whale", {"hiker.c": b"int a;\n"}, predicted=GREEN, writer="tab 7")
    source = storer_pb2.LightSource(kata_id=kata_id, avatar="whale", light_number=1)
    katas.stub.RecordTest(
        storer_pb2.RecordTestRequest(kata_id=kata_id, avatar="whale", source=source)
    )
    edit(katas, kata_id, {**FILES, "later": b"after the third light\n"})
    katas.record(kata_id, "whale", {"late": b"the newest\n"})
    return kata_id


def edit(katas: Katas, kata_id: str, files: dict[str, bytes]) -> None:
    """Record an edit of the whale's."""
    request = storer_pb2.RecordEditRequest(kata_id=kata_id, avatar="whale", files=files)
    assert katas.stub.RecordEdit(request).HasField("edit")


def history(katas: Katas, kata_id: str, avatar: str, newest: int | None = None) -> list[Any]:
    """Return what callers see of an avatar up to a light: lights, edits, files and differences."""
    request = storer_pb2.ListLightsRequest(kata_id=kata_id, avatar=avatar, with_edits=True)
    (found,) = katas.stub.ListLights(request).avatars
    lights = [each for each in found.lights if newest is None or each.number <= newest]
    edits = [each for each in found.edits if newest is None or each.light_number < newest]
    places = [(each.number, 0) for each in lights]
    places += [(each.light_number, each.number) for each in edits]
    files = [files_of(katas, kata_id, avatar, *place) for place in places]
    numbers = [each.number for each in lights]
    pairs = pairwise(numbers)
    return [lights, edits, files, [katas.diff(kata_id, avatar, *pair) for pair in pairs]]


def files_of(
    katas: Katas, kata_id: str, avatar: str, number: int, minor: int
) -> storer_pb2.GetFilesResponse:
    """Return the files of a light, or of an edit after it."""
    request = storer_pb2.GetFilesRequest(
        kata_id=kata_id, avatar=avatar, light_number=number, edit_number=minor
    )
    return katas.stub.GetFiles(request)


def objects(folder: Path) -> set[str]:
    """Return the names of all git objects of an avatar."""
    return {str(each) for each in pygit2.Repository(str(folder)).odb}


def listed_ids(data_containers: DataContainers) -> set[str]:
    return set(data_containers.kata_ids())


def test_a_fork_has_the_options_that_hold_for_the_avatar_as_the_katas(katas: Katas) -> None:
    kata_id = session(katas)
    dark = storer_pb2.Options(theme=storer_pb2.THEME_DARK, predict=True)
    own = storer_pb2.Options(predict=False)
    for avatar, given in (("", dark), ("whale", own), ("zebra", dark)):
        request = storer_pb2.SetOptionsRequest(kata_id=kata_id, avatar=avatar, options=given)
        katas.stub.SetOptions(request)
    forked = fork(katas, kata_id, "whale", 2)
    held = storer_pb2.Options(theme=storer_pb2.THEME_DARK, predict=False)
    assert katas.get(forked).options == storer_pb2.KataOptions(kata=held)


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4])
def test_a_fork_has_the_avatars_history_up_to_the_light_and_nothing_else(
    katas: Katas, data_containers: DataContainers, number: int
) -> None:
    kata_id = session(katas)
    forked = fork(katas, kata_id, "whale", number)
    assert history(katas, forked, "whale") == history(katas, kata_id, "whale", number)
    found, parent = katas.get(forked), katas.get(kata_id)
    assert list(found.avatars) == ["whale"]
    assert found.created == LATER
    assert MessageToDict(found.manifest.other).pop("forked_from") == {
        "id": kata_id,
        "avatar": "whale",
        "number": number,
    }
    found.manifest.ClearField("other")  # the original's has nothing there
    assert found.manifest == parent.manifest
    folder = data_containers.folder(forked) / "whale"
    kept = git(folder, "rev-list", "--all", "--objects").decode().splitlines()
    assert objects(folder) == {line.split()[0] for line in kept}
    assert objects(folder) <= objects(data_containers.folder(kata_id) / "whale")
    sandbox = {each.name: each.read_bytes() for each in (folder / "sandbox").iterdir()}
    assert sandbox == dict(katas.files(kata_id, "whale", number).files)
    assert not verify(katas, forked).findings


def test_the_original_stays_as_it_is_and_both_go_on_apart(katas: Katas) -> None:
    kata_id = session(katas)
    before = katas.tar(kata_id)
    forked = fork(katas, kata_id, "whale", 2)
    assert katas.tar(kata_id) == before
    assert katas.record(forked, "whale", {"a": b"here\n"}, expected_number=3).number == 3
    assert katas.record(kata_id, "whale", {"b": b"there\n"}, expected_number=5).number == 5
    assert dict(katas.files(forked, "whale", 3).files) == {"a": b"here\n"}
    assert katas.start(forked, "zebra") == "zebra"
    katas.delete(kata_id)
    assert dict(katas.files(forked, "whale", 2).files) == {"hiker.c": b"int a;\n"}
    assert not verify(katas, forked).findings


def test_a_fork_of_the_newest_light_can_be_forked_again(katas: Katas) -> None:
    kata_id = session(katas)
    again = fork(katas, fork(katas, kata_id, "whale"), "whale", 3)
    assert history(katas, again, "whale") == history(katas, kata_id, "whale", 3)
    assert not verify(katas, again).findings


def test_a_fork_is_downloaded_restored_archived_and_backed_up_as_any_kata(
    katas: Katas, katas_elsewhere: Katas, tmp_path: Path
) -> None:
    kata_id = session(katas)
    forked = fork(katas, kata_id, "whale", 3)
    expected = history(katas, kata_id, "whale", 3)
    tar = katas.tar(forked)
    status = git(unpacked(tar, tmp_path, forked) / "whale", "status", "--porcelain")
    assert not status
    made = backups.backup(katas)
    katas_elsewhere.restore(tar)
    assert history(katas_elsewhere, forked, "whale") == expected
    katas_elsewhere.delete(forked)
    told = backups.restore_into(katas_elsewhere, made.tar)
    assert set(told.outcomes.values()) == {"restored"}
    assert history(katas_elsewhere, forked, "whale") == expected
    assert not verify(katas_elsewhere, forked).findings


def test_a_fork_comes_back_from_the_archive(
    start_storer: Callable[..., Service], client: Callable[[Service], Katas], tmp_path: Path
) -> None:
    katas = client(start_storer(CYBER_DOJO_ARCHIVE=str(tmp_path / "archive")))
    kata_id = session(katas)
    forked = fork(katas, kata_id, "whale", 3)
    expected = history(katas, kata_id, "whale", 3)
    for each in (kata_id, forked):  # the fork is of a kata that comes back, too
        katas.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=each))
    assert history(katas, forked, "whale") == expected
    again = fork(katas, kata_id, "whale", 3)
    assert history(katas, again, "whale") == expected
    assert not verify(katas, forked, again).findings


def test_runs_go_on_in_the_sandbox_of_a_fork(
    katas: Katas, storer_service: Service, start_service: Callable[..., Service]
) -> None:
    kata_id = session(katas)
    forked = fork(katas, kata_id, "whale", 1)
    runner = start_service("runner", CYBER_DOJO_STORER=storer_service.address)
    files = {**FILES, "cyber-dojo.sh": b"ls; echo made > product\n"}
    request = runner_pb2.RunRequest(
        kata_id=forked, avatar="whale", image_name=PYTHON, files=files, max_seconds=60
    )
    with grpc.insecure_channel(runner.address) as channel:
        stub = runner_pb2_grpc.RunnerServiceStub(channel)
        first, second = stub.Run(request, timeout=120), stub.Run(request, timeout=120)
    runner.stop()
    assert first.stdout.content.decode().split() == sorted(FILES)
    assert second.stdout.content.decode().split() == sorted([*FILES, "product"])


def test_a_request_that_is_sent_again_gives_the_same_fork(
    katas: Katas, data_containers: DataContainers
) -> None:
    kata_id = session(katas)
    request_id = "a request for a fork with the avatar"
    forked = fork(katas, kata_id, "whale", request_id=request_id)
    katas.record(kata_id, "whale", {"c": b"recorded since\n"})
    assert fork(katas, kata_id, "whale", request_id=request_id) == forked
    assert listed_ids(data_containers) == {kata_id, forked}
    assert len(katas.lights(forked, "whale")) == 5
    with refused(grpc.StatusCode.ALREADY_EXISTS, reason="REQUEST_ID_REUSED"):
        katas.stub.ForkKata(
            storer_pb2.ForkKataRequest(
                kata_id=kata_id, avatar="whale", light_number=-1, request_id=request_id
            )
        )


def test_an_unknown_avatar_or_light_is_refused_and_leaves_nothing(
    katas: Katas, data_containers: DataContainers
) -> None:
    kata_id = katas.started("whale")
    with refused(grpc.StatusCode.NOT_FOUND, reason="NO_SUCH_LIGHT"):
        fork(katas, kata_id, "whale", 1)
    with refused(grpc.StatusCode.NOT_FOUND, reason="NO_SUCH_AVATAR"):
        fork(katas, kata_id, "zebra")
    with refused(grpc.StatusCode.NOT_FOUND, reason="NO_SUCH_KATA"):
        fork(katas, "0123456789", "whale")
    assert listed_ids(data_containers) == {kata_id}


@pytest.mark.parametrize(
    "what", ["1:light.json", "1.1:sandbox/in-between", "1^{commit}", "2^{tree}"]
)
def test_a_damaged_history_is_refused_and_leaves_nothing(
    katas: Katas, data_containers: DataContainers, what: str
) -> None:
    kata_id = session(katas)
    object_path(data_containers.folder(kata_id) / "whale", what).unlink()
    with refused(grpc.StatusCode.DATA_LOSS, says="whale/.git", reason="KATA_DAMAGED"):
        fork(katas, kata_id, "whale", 3)
    assert listed_ids(data_containers) == {kata_id}
    forked = fork(katas, kata_id, "whale", 0)  # what is behind the light does not matter
    assert history(katas, forked, "whale")[2][0].files == FILES


def test_a_folder_in_the_place_of_a_git_object_is_damage(
    katas: Katas, data_containers: DataContainers
) -> None:
    kata_id = session(katas)
    path = object_path(data_containers.folder(kata_id) / "whale", "2:sandbox/hiker.c")
    path.unlink()
    path.mkdir()
    with refused(grpc.StatusCode.DATA_LOSS, says="whale/.git", reason="KATA_DAMAGED"):
        fork(katas, kata_id, "whale", 3)
    assert listed_ids(data_containers) == {kata_id}


@pytest.mark.parametrize("kata", params(lambda kata: kata.avatar))
def test_a_legacy_kata_is_forked_with_its_avatar(katas: Katas, kata: LegacyKata) -> None:
    numbers = [each.number for each in katas.lights(kata.id, kata.avatar)]
    for number in {numbers[len(numbers) // 2], numbers[-1]}:
        forked = fork(katas, kata.id, kata.avatar, number)
        again = fork(katas, forked, kata.avatar)
        expected = history(katas, kata.id, kata.avatar, number)
        assert history(katas, forked, kata.avatar) == expected
        assert history(katas, again, kata.avatar) == expected
        assert not verify(katas, forked, again).unmended()
        recorded = katas.record(forked, kata.avatar, expected_number=number + 1)
        assert (recorded.number, recorded.colour) == (number + 1, RED)
        assert history(katas, forked, kata.avatar, number) == expected
