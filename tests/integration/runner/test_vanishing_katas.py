"""Katas that are deleted or restored during a run: the caller gets a status, and no defect."""

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from cyberdojo.runner.v1 import runner_pb2
from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from dojo import locks
from dojo.engine.client import Engine
from dojo.engine.data_containers import DataContainers
from storer.katas import publish
from support.kata_folders import Kata
from support.runner.submissions import AVATAR, PYTHON, Stub, assert_serves, containers, request
from support.services import Service, code_of, wait_until

Storer = storer_pb2_grpc.StorerServiceStub

OK, NOT_FOUND = grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE

PREPARING = "zebra"
# Seconds. A cold run and a preparation take about 500 ms together, so these are in all stages.
MOMENTS = [number * 0.04 for number in range(16)]


def stored_kata(storer: Storer, data_containers: DataContainers) -> Kata:
    """Make a kata with the storer, with a whale and a zebra."""
    manifest = storer_pb2.Manifest(
        display_name="Python", image_name=PYTHON, files={"cyber-dojo.sh": b"true\n"}
    )
    made = storer.CreateKata(storer_pb2.CreateKataRequest(manifest=manifest))
    for avatar in (AVATAR, PREPARING):
        storer.StartAvatar(storer_pb2.StartAvatarRequest(kata_id=made.kata_id, avatars=[avatar]))
    return Kata(made.kata_id, data_containers.folder(made.kata_id))


def codes_of_a_run_and_a_preparation(
    runner: Stub, kata: Kata, disturb: Callable[[], object], seconds: float, files: int
) -> set[grpc.StatusCode]:
    """Start a run and a preparation; call `disturb` after `seconds`; return both statuses."""
    asked = runner_pb2.PrepareRequest(kata_id=kata.id, avatar=PREPARING, image_name=PYTHON)
    submitted = {f"{number}.txt": b"x" for number in range(files)}
    calls: list[grpc.Future[Any]] = [
        runner.Prepare.future(asked, timeout=60),
        runner.Run.future(request(kata, files=submitted), timeout=60),
    ]
    time.sleep(seconds)
    disturb()
    return {code_of(call.result) for call in calls}


@pytest.mark.parametrize("files", [1, 1000])
def test_a_kata_that_is_deleted_at_any_moment_of_a_run_is_not_found(
    runner: Stub,
    plain_storer: Storer,
    data_containers: DataContainers,
    engine: Engine,
    files: int,
) -> None:
    def deleted(seconds: float) -> set[grpc.StatusCode]:
        kata = stored_kata(plain_storer, data_containers)
        asked = storer_pb2.DeleteKataRequest(kata_id=kata.id)
        found = codes_of_a_run_and_a_preparation(
            runner, kata, lambda: plain_storer.DeleteKata(asked, timeout=60), seconds, files
        )
        assert not kata.folder.exists()
        assert not containers(engine, kata)
        return found

    with ThreadPoolExecutor(4) as threads:
        found = set().union(*threads.map(deleted, MOMENTS))
    # Calls before the deletion succeed, later ones find no kata; and the runner logged no defect.
    assert found <= {OK, NOT_FOUND}
    assert NOT_FOUND in found


def test_a_kata_that_is_deleted_in_mid_run_is_not_found(
    runner: Stub, plain_storer: Storer, data_containers: DataContainers
) -> None:
    kata = stored_kata(plain_storer, data_containers)
    asked = request(kata, "touch here; sleep 1000", max_seconds=60)
    call = runner.Run.future(asked, timeout=60)
    wait_until(lambda: (kata.sandbox(AVATAR) / "here").exists() or call.done())
    plain_storer.DeleteKata(storer_pb2.DeleteKataRequest(kata_id=kata.id))
    assert code_of(call.result) is NOT_FOUND


def restore(kata: Kata) -> None:
    """Replace a kata by a copy, as restoring a backup does at its end."""
    with locks.locked(kata.folder), publish.staging(kata.folder) as staged:
        incoming = staged.folder
        shutil.copy(kata.folder / "manifest.json", incoming)
        for avatar in (AVATAR, PREPARING):
            (incoming / avatar).mkdir(mode=0o711)
            shutil.copy(kata.avatar_folder(avatar) / "manifest.json", incoming / avatar)
        publish.publish(staged, kata.folder)


def test_a_kata_that_is_restored_at_any_moment_of_a_run_can_be_run_again(
    runner: Stub, new_kata: Callable[[], Kata]
) -> None:
    katas = [new_kata() for _ in MOMENTS]
    for kata in katas:
        for avatar in (AVATAR, PREPARING):
            kata.start_avatar(avatar)

    def restored(kata: Kata, seconds: float) -> set[grpc.StatusCode]:
        return codes_of_a_run_and_a_preparation(runner, kata, lambda: restore(kata), seconds, 1)

    with ThreadPoolExecutor(4) as threads:
        found = set().union(*threads.map(restored, katas, MOMENTS))
    # The next run uses the restored sandbox, and its light is right.
    assert found <= {OK, UNAVAILABLE}
    for kata in katas[::4]:
        assert_serves(runner, kata)


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_run_that_is_cancelled_before_its_kata_is_deleted_is_no_defect(
    runner: Stub,
    runner_service: Service,
    plain_storer: Storer,
    data_containers: DataContainers,
    *,
    is_stream: bool,
) -> None:
    kata = stored_kata(plain_storer, data_containers)
    asked = request(kata, "touch here; sleep 1000", max_seconds=60)
    call: Any = (
        runner.RunStream(runner_pb2.RunStreamRequest(run=asked), timeout=60)
        if is_stream
        else runner.Run.future(asked, timeout=60)
    )
    wait_until((kata.sandbox(AVATAR) / "here").exists)
    call.cancel()
    plain_storer.DeleteKata(storer_pb2.DeleteKataRequest(kata_id=kata.id))
    # The fixture of all tests asserts that the runner logged no defect.
    runner_service.wait_for_event(
        lambda event: event["event"] == "run cancelled" and event.get("kata") == kata.id
    )
