"""Submissions to the runner in archived katas."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from dojo import kata_ids, locks
from dojo.engine.data_containers import DataContainers
from support.kata_folders import Kata
from support.runner.submissions import (
    AVATAR,
    GREEN,
    PYTHON,
    Stub,
    assert_serves,
    held,
    prepare,
    refused,
    request,
)
from support.services import Service, wait_until

FILES = {"cyber-dojo.sh": b"cat product; touch product; echo tests: passed\n"}


@pytest.fixture
def storer_service_with_archive(
    start_service: Callable[..., Service], tmp_path: Path
) -> Iterator[Service]:
    """A storer with an archive."""
    service = start_service("storer", CYBER_DOJO_ARCHIVE=str(tmp_path / "archive"))
    yield service
    service.stop()


@pytest.fixture
def storer(
    storer_service_with_archive: Service, connect: Callable[[str], grpc.Channel]
) -> storer_pb2_grpc.StorerServiceStub:
    """A client of the storer with an archive."""
    return storer_pb2_grpc.StorerServiceStub(connect(storer_service_with_archive.address))


@pytest.fixture
def asking_runner(
    storer_service_with_archive: Service,
    start_runner: Callable[..., Service],
    client: Callable[[Service], Stub],
) -> Stub:
    """A runner that can call the storer, on a machine with a proxy for the web."""
    address = storer_service_with_archive.address
    proxy = {"http_proxy": "http://127.0.0.1:1", "no_proxy": ""}
    return client(start_runner(CYBER_DOJO_STORER=address, **proxy))


@pytest.fixture
def stored_kata(
    storer: storer_pb2_grpc.StorerServiceStub, data_containers: DataContainers
) -> Iterator[Kata]:
    """A kata that the storer made, with a whale."""
    manifest = storer_pb2.Manifest(display_name="Python, pytest", image_name=PYTHON, files=FILES)
    made = storer.CreateKata(storer_pb2.CreateKataRequest(manifest=manifest))
    storer.StartAvatar(storer_pb2.StartAvatarRequest(kata_id=made.kata_id, avatars=[AVATAR]))
    yield Kata(made.kata_id, data_containers.folder(made.kata_id))
    storer.DeleteKata(storer_pb2.DeleteKataRequest(kata_id=made.kata_id))


def archive(storer: storer_pb2_grpc.StorerServiceStub, kata: Kata) -> None:
    """Archive the kata as soon as no container holds its volume."""

    def is_archived() -> bool:
        try:
            storer.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=kata.id))
        except grpc.RpcError as error:
            code = error.code()
            assert code is grpc.StatusCode.FAILED_PRECONDITION
            return False
        return True

    wait_until(is_archived)


def test_a_submission_fetches_its_archived_kata_with_the_products_of_earlier_runs(
    storer_service_with_archive: Service,
    start_runner: Callable[..., Service],
    client: Callable[[Service], Stub],
    storer: storer_pb2_grpc.StorerServiceStub,
    stored_kata: Kata,
) -> None:
    runner = client(
        start_runner(
            CYBER_DOJO_STORER=storer_service_with_archive.address,
            CYBER_DOJO_RUNNER_MAX_WARM_SECONDS="1",
        )
    )
    for stderr in (b"cat: product: No such file or directory\n", b"", b""):
        response = runner.Run(request(stored_kata, FILES["cyber-dojo.sh"].decode()))
        assert (response.colour, response.stderr.content) == (GREEN, stderr)
        archive(storer, stored_kata)
        assert not stored_kata.folder.exists()


def test_preparing_fetches_an_archived_kata(
    asking_runner: Stub, storer: storer_pb2_grpc.StorerServiceStub, stored_kata: Kata
) -> None:
    archive(storer, stored_kata)
    assert prepare(asking_runner, stored_kata)
    assert stored_kata.folder.exists()


def test_a_kata_whose_container_waits_for_a_run_is_not_archived(
    asking_runner: Stub, storer: storer_pb2_grpc.StorerServiceStub, stored_kata: Kata
) -> None:
    assert prepare(asking_runner, stored_kata)
    with pytest.raises(grpc.RpcError, match="holds its volume"):
        storer.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=stored_kata.id))
    assert stored_kata.folder.exists()


def test_a_run_counts_as_a_use_of_the_kata(
    asking_runner: Stub, stored_kata: Kata, data_containers: DataContainers
) -> None:
    os.utime(stored_kata.folder.parent, (0, 0))
    before = time.time()
    asking_runner.Run(request(stored_kata))
    # The clock of the file system is coarser.
    assert data_containers.touched(stored_kata.id) >= before - 1


def test_a_kata_that_the_storer_does_not_know_is_not_found(
    asking_runner: Stub, stored_kata: Kata
) -> None:
    nowhere = Kata("0123456789", stored_kata.folder)
    with pytest.raises(grpc.RpcError, match="no kata has this id") as caught:
        asking_runner.Run(request(nowhere))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_without_a_storer_the_runner_says_what_to_do(
    runner: Stub, storer: storer_pb2_grpc.StorerServiceStub, stored_kata: Kata
) -> None:
    archive(storer, stored_kata)
    with pytest.raises(grpc.RpcError, match="CYBER_DOJO_STORER") as caught:
        runner.Run(request(stored_kata))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_storer_that_does_not_answer_is_unavailable(
    start_runner: Callable[..., Service], client: Callable[[Service], Stub], stored_kata: Kata
) -> None:
    alone = client(start_runner(CYBER_DOJO_STORER="127.0.0.1:1"))
    nowhere = Kata("0123456789", stored_kata.folder)
    with pytest.raises(grpc.RpcError, match="the storer can't be asked") as caught:
        alone.Run(request(nowhere))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_kata_that_goes_while_its_program_runs_is_not_imported_for_a_second_run(
    start_service: Callable[..., Service],
    start_runner: Callable[..., Service],
    client: Callable[[Service], Stub],
    stored_kata: Kata,
    *,
    data_containers: DataContainers,
    tmp_path: Path,
) -> None:
    katas_directory = tmp_path / "katas"
    outer, inner = kata_ids.outer(stored_kata.id), kata_ids.inner(stored_kata.id)
    shutil.copytree(stored_kata.folder, katas_directory / outer / inner)
    importing = start_service("storer", CYBER_DOJO_KATAS_DIRECTORY=str(katas_directory))
    runner = client(start_runner(CYBER_DOJO_STORER=importing.address))
    run = held(runner, stored_kata)
    with locks.locked(stored_kata.folder):
        data_containers.delete(stored_kata.id)
    refused(lambda: run.call.result(timeout=30), grpc.StatusCode.NOT_FOUND)
    assert not stored_kata.folder.exists()
    assert_serves(runner, stored_kata)  # the next run imports the kata
    importing.stop()
