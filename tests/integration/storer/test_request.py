"""A request that is sent again, as its answer was lost, does what it asks for once."""

import io
import json
import tarfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from cyberdojo.storer.v1 import storer_pb2
from dojo import kata_ids
from support.services import Service, wait_until
from support.storer.stalling_proxy import StallingProxy, stalling_proxy
from support.storer.storing import (
    FILES,
    GREEN,
    Katas,
    Stub,
    a_manifest,
    a_test,
    at_once,
    refused,
    restore_requests,
)

OTHER_FILES = {**FILES, "hiker.c": b"int answer;\n"}


@dataclass
class Repeatable:
    """A call that may be sent again, one with the same id that asks for something else."""

    call: Callable[[Stub], Any]
    other: Callable[[Stub], Any]
    made: Callable[[Katas], object]
    """What there is, of what the call makes."""


def all_ids(katas: Katas) -> set[str]:
    """The ids of all katas."""
    found = katas.stub.ListKatas(storer_pb2.ListKatasRequest(page_size=10_000))
    return {each.kata_id for each in found.katas}


def repeatables(katas: Katas) -> dict[str, Repeatable]:
    """A call of each RPC that has a request_id, for a kata that is made for it."""
    kata_id, request_id = katas.started("whale"), str(uuid.uuid4())
    katas.record(kata_id, "whale")
    gone = katas.started("whale", "bat")
    tar = katas.tar(gone, storer_pb2.COMPRESSION_GZIP)  # a stalled connection takes 64 KiB
    katas.delete(gone)

    def create(stub: Stub, files: dict[str, bytes] = FILES) -> Any:
        request = storer_pb2.CreateKataRequest(
            manifest=a_manifest(files), request_id=f"create {request_id}"
        )
        return stub.CreateKata(request, wait_for_ready=True)

    def fork(stub: Stub, light_number: int = -1, *, with_avatar: bool = False) -> Any:
        request = storer_pb2.ForkKataRequest(
            kata_id=kata_id,
            avatar="whale",
            light_number=light_number,
            request_id=f"fork {with_avatar} {request_id}",
            with_avatar=with_avatar,
        )
        return stub.ForkKata(request, wait_for_ready=True)

    def start(stub: Stub, *order: str) -> Any:
        request = storer_pb2.StartAvatarRequest(
            kata_id=kata_id, avatars=order, request_id=request_id
        )
        return stub.StartAvatar(request, wait_for_ready=True)

    def record(stub: Stub, files: dict[str, bytes] = FILES) -> Any:
        request = a_test(kata_id, "whale", files, request_id=request_id)
        return stub.RecordTest(request, wait_for_ready=True)

    def restore(stub: Stub, *, overwrite: bool = False) -> Any:
        requests = restore_requests(tar, overwrite=overwrite, request_id=request_id)
        return stub.RestoreKata(requests, wait_for_ready=True)

    def avatars(katas: Katas) -> list[str]:
        return list(katas.get(kata_id).avatars)

    def lights(katas: Katas) -> list[int]:
        return [each.number for each in katas.lights(kata_id, "whale")]

    return {
        "CreateKata": Repeatable(create, lambda stub: create(stub, OTHER_FILES), all_ids),
        "ForkKata": Repeatable(fork, lambda stub: fork(stub, 0), all_ids),
        "ForkKata with_avatar": Repeatable(
            partial(fork, with_avatar=True),
            lambda stub: fork(stub, 0, with_avatar=True),
            all_ids,
        ),
        "StartAvatar": Repeatable(start, lambda stub: start(stub, "whale", "zebra"), avatars),
        "RecordTest": Repeatable(record, lambda stub: record(stub, OTHER_FILES), lights),
        "RestoreKata": Repeatable(restore, lambda stub: restore(stub, overwrite=True), all_ids),
    }


def tar_with(folder: str, manifest: Mapping[str, object]) -> bytes:
    """Return the tar of a kata that has a manifest.json only."""
    content, file = json.dumps(manifest).encode(), io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name in (folder.partition("/")[0], folder):
            member = tarfile.TarInfo(name)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(member)
        member = tarfile.TarInfo(f"{folder}/manifest.json")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


RPCS = [
    *("CreateKata", "ForkKata", "ForkKata with_avatar"),
    *("StartAvatar", "RecordTest", "RestoreKata"),
]


@pytest.fixture
def losing(storer_service: Service) -> Iterator[StallingProxy]:
    """A proxy for the shared storer that can lose answers."""
    with stalling_proxy(storer_service.address, 2**62) as proxy:
        yield proxy


def lose_the_answer(proxy: StallingProxy, stub: Stub, katas: Katas, repeatable: Repeatable) -> None:
    """Make a call by a proxy that loses its answer; return when it is done."""
    before = repeatable.made(katas)
    all_ids(Katas(stub))  # there is a connection
    proxy.stall()
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(repeatable.call, stub)
        wait_until(lambda: repeatable.made(katas) != before)
        proxy.resume()
        assert isinstance(call.exception(), grpc.RpcError)


@pytest.mark.parametrize("rpc", RPCS)
def test_a_lost_answer_is_given_to_the_same_request_sent_again(
    katas: Katas, losing: StallingProxy, rpc: str
) -> None:
    repeatable = repeatables(katas)[rpc]
    with grpc.insecure_channel(losing.address) as channel:
        stub = Stub(channel)
        lose_the_answer(losing, stub, katas, repeatable)
        made = repeatable.made(katas)
        answer = repeatable.call(stub)
        assert repeatable.call(katas.stub) == answer
        assert repeatable.made(katas) == made
        with refused(grpc.StatusCode.ALREADY_EXISTS, reason="REQUEST_ID_REUSED"):
            repeatable.other(stub)
        assert repeatable.made(katas) == made
    if rpc not in {"StartAvatar", "RecordTest"}:
        assert katas.get(answer.kata_id)


def test_another_storer_gives_the_answers_that_a_killed_one_did_not_send(
    start_storer: Callable[..., Service], client: Callable[[Service], Katas]
) -> None:
    doomed, other = start_storer(), client(start_storer())
    calls = repeatables(other)
    with (
        stalling_proxy(doomed.address, 2**62) as proxy,
        grpc.insecure_channel(proxy.address) as channel,
    ):
        for repeatable in calls.values():
            lose_the_answer(proxy, Stub(channel), other, repeatable)
    doomed.kill()
    for repeatable in calls.values():
        made = repeatable.made(other)
        answers = at_once(repeatable.call, [other.stub] * 4)
        assert answers == [answers[0]] * 4
        assert repeatable.made(other) == made


def test_the_same_request_to_two_storers_at_once_makes_one_thing(
    start_storer: Callable[..., Service], client: Callable[[Service], Katas]
) -> None:
    both = [client(start_storer()), client(start_storer())]
    for repeatable in repeatables(both[0]).values():
        made = repeatable.made(both[0])
        answers = at_once(repeatable.call, [each.stub for each in both * 3])
        assert answers == [answers[0]] * len(answers)
        now = repeatable.made(both[0])
        assert len(now) == len(made) + 1  # type: ignore[arg-type]


def test_the_archive_keeps_what_was_asked_for(
    start_storer: Callable[..., Service], client: Callable[[Service], Katas], tmp_path: Path
) -> None:
    katas = client(start_storer(CYBER_DOJO_ARCHIVE=str(tmp_path / "archive")))
    calls = repeatables(katas)
    answers = {rpc: repeatable.call(katas.stub) for rpc, repeatable in calls.items()}
    restored = answers["RestoreKata"].kata_id
    katas.record(restored, "whale", colour=GREEN)
    for kata_id in all_ids(katas):
        katas.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=kata_id))
    for rpc, repeatable in calls.items():
        assert repeatable.call(katas.stub) == answers[rpc]
    # What was recorded since the first restore is there.
    assert len(katas.lights(restored, "whale")) == 2
    for kata_id in all_ids(katas):
        katas.delete(kata_id)


def test_an_id_that_another_kata_has_by_chance_is_passed_over(katas: Katas) -> None:
    request_id = str(uuid.uuid4())
    taken = kata_ids.of_request(request_id, 0)
    manifest = {
        "id": taken,
        "created": [2019, 1, 16, 12, 44, 55],
        "display_name": "C",
        "image_name": "a/b",
        "visible_files": {"cyber-dojo.sh": "make"},
    }
    katas.restore(tar_with(f"{taken[:2]}/{taken[2:]}", manifest))
    request = storer_pb2.CreateKataRequest(manifest=a_manifest(), request_id=request_id)
    created = katas.stub.CreateKata(request)
    assert created.kata_id == kata_ids.of_request(request_id, 1)
    assert katas.stub.CreateKata(request) == created


def test_a_request_id_of_which_a_kata_s_id_follows_is_long_enough_to_be_random(
    katas: Katas,
) -> None:
    for request_id in ("1", "x" * 15, "x" * 101):
        with refused(grpc.StatusCode.INVALID_ARGUMENT, field="request_id"):
            katas.stub.CreateKata(
                storer_pb2.CreateKataRequest(manifest=a_manifest(), request_id=request_id)
            )
    with refused(grpc.StatusCode.INVALID_ARGUMENT, field="header.request_id"):
        katas.stub.RestoreKata(restore_requests(b"", request_id="x" * 101))


def test_the_request_is_no_part_of_what_others_see_of_a_kata(katas: Katas) -> None:
    calls = repeatables(katas)
    created = calls["CreateKata"].call(katas.stub).kata_id
    assert not katas.get(created).manifest.other
    restored = calls["RestoreKata"].call(katas.stub).kata_id
    # Whoever restores this tar elsewhere has not sent that request.
    tar = katas.tar(restored)
    katas.delete(restored)
    katas.restore(tar)
    with refused(grpc.StatusCode.ALREADY_EXISTS, reason="KATA_EXISTS"):
        calls["RestoreKata"].call(katas.stub)
