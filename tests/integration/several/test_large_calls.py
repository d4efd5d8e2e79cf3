"""A machine dies in the middle of a large call: the call is done once when it is made again."""

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from dojo.chunks import CHUNK_BYTES
from support.machines.etcd import Etcd
from support.services import code_of, wait_until
from support.storer.several import Storers
from support.storer.storing import FILES, Katas, a_test, refused, restore_requests

MIB = 1024 * 1024
# As much as a light may have.
LARGE = {f"large-{number}": secrets.token_bytes(16 * MIB - 1000) for number in range(3)}
SOME = secrets.token_bytes(5 * MIB)
REQUEST_ID = "request-large"
AGAIN = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]

RECEIVING, UPLOADING, IN_ETCD = "receiving", "uploading", "in etcd"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
def storers(make_storers: Callable[..., Storers], etcd: Etcd, archive: Path) -> Storers:
    """Three storers, the first of which leaves everything in etcd for long."""
    storers = make_storers(etcd, str(archive))
    storers.add(CYBER_DOJO_ARCHIVE_COPY_SECONDS="600")
    storers.add()
    storers.add()
    return storers


@pytest.fixture
def large_katas(storers: Storers) -> Iterator[Callable[[int], Katas]]:
    """Returns the katas as one of the storers answers them, also if the answer is large."""
    channels: list[grpc.Channel] = []

    def large_katas(number: int) -> Katas:
        channels.append(grpc.insecure_channel(storers.address(number), UNLIMITED))
        return Katas(storer_pb2_grpc.StorerServiceStub(channels[-1]))

    yield large_katas
    for channel in channels:
        channel.close()


def answered(call: Callable[[], int]) -> int:
    """Make a call again until it is answered; return its answer."""
    found: list[int] = []

    def is_answered() -> bool:
        try:
            found.append(call())
        except grpc.RpcError as error:
            if error.code() not in AGAIN:
                raise
        return bool(found)

    wait_until(is_answered)
    return found[0]


def has_come_to(stage: str, storers: Storers, archive: Path, kata_id: str) -> Callable[[], bool]:
    """Return what says that a change of the kata has come so far."""
    before = storers.record_count(kata_id)
    if stage == UPLOADING:
        return lambda: any((archive / ".incoming").iterdir())
    return lambda: storers.record_count(kata_id) != before


@pytest.mark.parametrize(
    ("stage", "first"),
    [
        (UPLOADING, 1),
        pytest.param(UPLOADING, 0, marks=pytest.mark.long_form),
        pytest.param(IN_ETCD, 0, marks=pytest.mark.long_form),
        pytest.param(IN_ETCD, 1, marks=pytest.mark.long_form),
    ],
)
def test_a_large_light_is_recorded_once_although_its_machine_dies(
    storers: Storers,
    large_katas: Callable[[int], Katas],
    archive: Path,
    stage: str,
    first: int,
) -> None:
    kata_id = storers.katas(0).started("whale")
    light = a_test(kata_id, "whale", {**FILES, **LARGE}, request_id=REQUEST_ID)
    is_time = has_come_to(stage, storers, archive, kata_id)
    with ThreadPoolExecutor(1) as thread:
        call = thread.submit(large_katas(first).stub.RecordTest, light, timeout=60)
        wait_until(lambda: is_time() or call.done())
        storers.services[0].kill()
        error = call.exception()
    assert error is None or (isinstance(error, grpc.RpcError) and error.code() in AGAIN)
    katas = large_katas(2)
    assert answered(lambda: katas.stub.RecordTest(light, timeout=60).light.number) == 1
    assert [each.number for each in katas.lights(kata_id, "whale")] == [0, 1]
    assert katas.files(kata_id, "whale", 1).files == {**FILES, **LARGE}
    assert katas.record(kata_id, "whale").number == 2
    # It is refused while the kata is being copied.
    asked = storer_pb2.ArchiveKataRequest(kata_id=kata_id)
    wait_until(lambda: code_of(lambda: katas.stub.ArchiveKata(asked)) is grpc.StatusCode.OK)
    assert not [each for each in (archive / ".bodies").rglob("*") if each.is_file()]


@pytest.mark.parametrize(
    ("stage", "is_new"),
    [
        (RECEIVING, True),
        (UPLOADING, False),
        pytest.param(RECEIVING, False, marks=pytest.mark.long_form),
        pytest.param(UPLOADING, True, marks=pytest.mark.long_form),
        pytest.param(IN_ETCD, True, marks=pytest.mark.long_form),
        pytest.param(IN_ETCD, False, marks=pytest.mark.long_form),
    ],
)
def test_a_kata_is_restored_once_and_whole_although_its_machine_dies(
    storers: Storers,
    large_katas: Callable[[int], Katas],
    archive: Path,
    stage: str,
    *,
    is_new: bool,
) -> None:
    kata_id = storers.katas(0).started("whale")
    storers.katas(0).record(kata_id, "whale", {**FILES, "large": SOME})
    tar = storers.katas(0).tar(kata_id)
    assert len(tar) > 3 * CHUNK_BYTES
    if is_new:
        storers.katas(0).delete(kata_id)
    else:
        storers.katas(0).record(kata_id, "whale")
    is_time = has_come_to(stage, storers, archive, kata_id)

    def requests() -> Iterator[storer_pb2.RestoreKataRequest]:
        for number, each in enumerate(restore_requests(tar, overwrite=True, request_id=REQUEST_ID)):
            if stage == RECEIVING and number == 3:
                storers.services[0].kill()
            yield each

    with ThreadPoolExecutor(1) as thread:
        call = thread.submit(large_katas(0).stub.RestoreKata, requests(), timeout=60)
        if stage != RECEIVING:
            wait_until(lambda: is_time() or call.done())
            storers.services[0].kill()
        error = call.exception()
    assert error is None or (isinstance(error, grpc.RpcError) and error.code() in AGAIN)
    katas = large_katas(2)
    if is_new and stage == RECEIVING:
        with refused(grpc.StatusCode.NOT_FOUND):
            katas.get(kata_id)
    elif not is_new:
        count = answered(lambda: len(katas.lights(kata_id, "whale")))
        assert count == 3 or (count == 2 and stage != RECEIVING)

    def restored() -> int:
        again = restore_requests(tar, overwrite=True, request_id=REQUEST_ID)
        katas.stub.RestoreKata(again, timeout=60)
        return len(katas.lights(kata_id, "whale"))

    assert answered(restored) == 2
    assert katas.files(kata_id, "whale", 1).files["large"] == SOME
    storers.start_again(0)
    assert large_katas(0).files(kata_id, "whale", 1).files["large"] == SOME
    assert katas.record(kata_id, "whale", request_id="request-after").number == 2
