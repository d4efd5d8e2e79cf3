"""Twice as many calls of the storer as a bound allows, or calls that hold twice as much."""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from typing import Any

import grpc

from cyberdojo.storer.v1 import storer_pb2
from dojo import limits, locks
from storer.api import converters
from support.bounds.pair import (
    INVALID_ARGUMENT,
    OK,
    QUICK_BYTES,
    RESOURCE_EXHAUSTED,
    SECONDS,
    UNAVAILABLE,
    Case,
    Pair,
    ended,
    outcomes,
)
from support.fuzz.watched import Watched
from support.refusals import code_to_judge
from support.services import code_of, wait_until
from support.storer.storing import FILES, a_manifest, a_test, refused

MIB = 1024**2
LARGE = {**FILES, **{f"{number}.txt": bytes([65 + number]) * 15 * MIB for number in range(3)}}
# Bytes that are no UTF-8.
WIDE = {
    **FILES,
    **{f"{number}.txt": bytes(range(0x80, 0x100)) * (MIB // 10) for number in range(3)},
}
_READERS = 2  # one is read at a time
_LARGE_BYTES = sum(map(len, LARGE.values()))


def _working_calls(pair: Pair) -> None:
    kata_id = pair.katas.create()
    calls = [lambda: pair.katas.get(kata_id)]
    assert set(outcomes(2 * limits.WORKING_CALLS * calls)) == {OK}


def _large_lights(pair: Pair) -> None:
    kata_id = pair.katas.started("whale")
    files = {**FILES, "large": bytes(2 * limits.LARGE_LIGHT_BYTES)}
    pair.katas.record(kata_id, "whale", files)
    calls = [lambda: pair.katas.files(kata_id, "whale")]
    assert set(outcomes(2 * limits.MAX_LARGE_LIGHT_PROCESSES * calls)) == {OK}
    assert dict(pair.katas.files(kata_id, "whale").files) == files


def _checks(pair: Pair) -> None:
    kata_id = pair.katas.started("whale")
    pair.katas.record(kata_id, "whale", {**FILES, "a": bytes(2 * limits.SMALL_CHECKED_BYTES)})
    request = storer_pb2.VerifyKatasRequest(kata_ids=[kata_id])
    calls = [lambda: list(pair.katas.stub.VerifyKatas(request, timeout=SECONDS))]
    assert set(outcomes(2 * limits.MAX_CHECKING_PROCESSES * calls)) == {OK}
    assert not any(part.HasField("finding") for part in calls[0]())


def _fetches_for_one(pair: Pair) -> None:
    made = [pair.katas.create() for _ in range(2 * limits.MAX_FETCHES_FOR_ONE)]
    for kata_id in made:
        pair.katas.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=kata_id))
    request = storer_pb2.WatchKatasRequest(
        katas=[storer_pb2.WatchKataRequest(kata_id=kata_id) for kata_id in made]
    )
    watching = pair.katas.stub.WatchKatas(request)
    caught_up = {each.kata_id for each in islice(watching, len(made)) if each.happened.caught_up}
    watching.cancel()
    assert caught_up == set(made)


def _fetches(pair: Pair) -> None:
    made = [pair.katas.create() for _ in range(2 * limits.MAX_FETCHES)]
    for kata_id in made:
        pair.katas.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=kata_id))
    assert set(outcomes([partial(pair.katas.get, kata_id) for kata_id in made])) == {OK}


def _waiting_for_one_lock(pair: Pair) -> None:
    _wait_for_locks(pair, katas=1, most=limits.MAX_WAITING_FOR_ONE_LOCK)


def _waiting_calls(pair: Pair) -> None:
    katas = 2 * (2 * limits.MAX_WAITING_CALLS // limits.MAX_WAITING_FOR_ONE_LOCK)
    _wait_for_locks(pair, katas=katas, most=limits.MAX_WAITING_CALLS)


def _wait_for_locks(pair: Pair, *, katas: int, most: int) -> None:
    """Make twice as many calls for held katas as may wait; the others are refused at once."""
    made = [pair.katas.create() for _ in range(katas)]
    with ExitStack() as held:
        for kata_id in made:
            held.enter_context(locks.locked(pair.data_containers.folder(kata_id)))
        calls = [
            pair.katas.stub.GetKata.future(
                storer_pb2.GetKataRequest(kata_id=made[number % katas]), timeout=SECONDS
            )
            for number in range(2 * most)
        ]
        wait_until(lambda: sum(call.done() for call in calls) >= most)
        assert ended(calls) == {UNAVAILABLE: most}
    wait_until(lambda: all(call.done() for call in calls))
    assert ended(calls) == {UNAVAILABLE: most, OK: most}


def _message_bytes(pair: Pair) -> None:
    kata_id = pair.katas.started("whale")
    test = a_test(kata_id, "whale", {"a": bytes(2 * limits.MESSAGE_BYTES)})
    with refused(RESOURCE_EXHAUSTED, says=f"{limits.MESSAGE_BYTES}"):
        pair.katas.stub.RecordTest(test, timeout=SECONDS)


def _requests(pair: Pair) -> None:
    kata_id = pair.katas.started("whale")
    test = a_test(kata_id, "whale", LARGE)
    _share(
        lambda: pair.katas.stub.RecordTest(test, timeout=SECONDS),
        limits.REQUEST_FACTOR * _LARGE_BYTES,
    )


def _responses(pair: Pair) -> None:
    kata_id = pair.katas.started("whale")
    pair.katas.record(kata_id, "whale", {**FILES, "large.txt": bytes(QUICK_BYTES)})
    _share(
        lambda: pair.katas.files(kata_id, "whale"),
        limits.RESPONSE_FACTOR * QUICK_BYTES,
    )


def _share(call: Callable[[], object], size: int) -> None:
    """Make calls that together would take the calls' share twice; each takes `size` bytes."""
    share = limits.MEMORY_BYTES * limits.CALLS_MEMORY_PERCENT // 100
    statuses = outcomes((2 * share // size + 1) * [call])
    assert statuses[OK]
    assert set(statuses) <= {OK, RESOURCE_EXHAUSTED}
    call()  # what was answered or refused holds nothing


def _large_manifests(pair: Pair) -> None:
    """Read a manifest with the files of a light, of which JSON makes six times as many bytes."""
    kata_id = pair.katas.started("whale")
    pair.katas.record(kata_id, "whale", WIDE)
    request = storer_pb2.ForkKataRequest(kata_id=kata_id, avatar="whale", light_number=-1)
    fork = pair.katas.stub.ForkKata(request, timeout=SECONDS).kata_id
    for call in (
        partial(pair.katas.get, fork),
        partial(pair.katas.start, fork),
        partial(pair.katas.stub.ForkKata, request, timeout=SECONDS),
    ):
        statuses = outcomes(_READERS * [call])
        assert statuses[OK]
        assert set(statuses) <= {OK, RESOURCE_EXHAUSTED}


def _receiving(pair: Pair) -> None:
    """Send nothing, in twice as many calls as may be large; others are answered meanwhile."""
    kata_id = pair.katas.create()
    share = limits.MEMORY_BYTES * limits.RECEIVED_MEMORY_PERCENT // 100
    count = 2 * (share // limits.MESSAGE_BYTES)
    with silent(pair.world.storer, "cyberdojo.storer.v1.StorerService/GetKata", count) as calls:
        assert pair.katas.get(kata_id).kata_id == kata_id
        wait_until(lambda: all(call.done() for call in calls))
        assert ended(calls) == {RESOURCE_EXHAUSTED: len(calls)}


def _restores(pair: Pair) -> None:
    """Begin twice as many restores as have a share, and send nothing more; others go on."""
    share = limits.MEMORY_BYTES * limits.RESTORES_MEMORY_PERCENT // 100
    most = share // limits.RESTORE_BYTES
    header = storer_pb2.RestoreKataRequest(header=storer_pb2.RestoreKataHeader())
    is_over = threading.Event()

    def requests() -> Iterator[storer_pb2.RestoreKataRequest]:
        yield header
        is_over.wait()

    restores = [
        pair.katas.stub.RestoreKata.future(requests(), timeout=SECONDS) for _ in range(2 * most)
    ]
    try:
        wait_until(lambda: sum(call.done() for call in restores) >= most)
        assert ended(restores) == {RESOURCE_EXHAUSTED: most}
        assert pair.katas.started("whale")
    finally:
        is_over.set()
    wait_until(lambda: all(call.done() for call in restores))


def _downloads(pair: Pair) -> None:
    """Begin twice as many downloads as have a share, and read none of them on."""
    kata_id = pair.katas.started("whale")
    pair.katas.record(kata_id, "whale", {**FILES, "noise": os.urandom(15 * MIB)})
    share = limits.MEMORY_BYTES * limits.DOWNLOADS_MEMORY_PERCENT // 100
    request = storer_pb2.DownloadKataRequest(kata_id=kata_id)
    begun = []
    statuses: Counter[grpc.StatusCode] = Counter()
    for _ in range(2 * share // limits.DOWNLOAD_BYTES):
        download: Any = pair.katas.stub.DownloadKata(request, timeout=SECONDS)
        try:
            next(download)
        except grpc.RpcError as error:
            statuses[code_to_judge(error)] += 1
        else:
            begun.append(download)
    assert len(begun) >= share // limits.DOWNLOAD_BYTES
    assert set(statuses) == {RESOURCE_EXHAUSTED}
    for download in begun:
        download.cancel()
    wait_until(lambda: code_of(lambda: pair.katas.tar(kata_id)) is OK)


def _stream_message(pair: Pair) -> None:
    header = storer_pb2.RestoreKataRequest(header=storer_pb2.RestoreKataHeader())
    data = storer_pb2.RestoreKataRequest(data=bytes(2 * limits.STREAM_MESSAGE_BYTES))
    with refused(INVALID_ARGUMENT, says=f"more than {limits.STREAM_MESSAGE_BYTES}"):
        pair.katas.stub.RestoreKata(iter([header, data]), timeout=SECONDS)


def _manifest(pair: Pair) -> None:
    made = a_manifest(other={"a": "x" * (2 * limits.MAX_MANIFEST_BYTES)})
    with refused(INVALID_ARGUMENT, says=f"{limits.MAX_MANIFEST_BYTES}"):
        pair.katas.stub.CreateKata(storer_pb2.CreateKataRequest(manifest=made), timeout=SECONDS)


def _outputs(pair: Pair) -> None:
    kata_id = pair.katas.started("whale")
    which = storer_pb2.WhichLight(avatar="whale", light_number=0)
    request = storer_pb2.GetOutputsRequest(kata_id=kata_id, lights=[which] * limits.MAX_OUTPUTS)
    assert len(pair.katas.stub.GetOutputs(request, timeout=SECONDS).outputs) == limits.MAX_OUTPUTS
    request.lights.extend(list(request.lights))
    with refused(INVALID_ARGUMENT, says=f"{limits.MAX_OUTPUTS}"):
        pair.katas.stub.GetOutputs(request, timeout=SECONDS)


def _watched_katas(pair: Pair) -> None:
    kata_id = pair.katas.create()
    one = storer_pb2.WatchKataRequest(kata_id=kata_id)
    request = storer_pb2.WatchKatasRequest(katas=[one] * (2 * limits.MAX_WATCHED_KATAS))
    with refused(INVALID_ARGUMENT, says=f"{limits.MAX_WATCHED_KATAS}"):
        list(pair.katas.stub.WatchKatas(request, timeout=SECONDS))


def _pages(pair: Pair) -> None:
    kata_id = pair.katas.started("whale")
    reason = "\U0001f433" * converters.MAX_REASON
    count = 2 * limits.PAGE_BYTES // len(reason.encode())
    for _ in range(count):
        pair.katas.record(kata_id, "whale", reason=reason)
    request = storer_pb2.ListLightsRequest(kata_id=kata_id)
    pages: list[storer_pb2.ListLightsResponse] = []
    while not pages or request.page_token:
        pages.append(pair.katas.stub.ListLights(request, timeout=SECONDS))
        request.page_token = pages[-1].next_page_token
    assert all(each.ByteSize() < limits.PAGE_BYTES + MIB for each in pages)
    assert sum(len(one.lights) for each in pages for one in each.avatars) == count + 1


CASES: dict[str, Case] = {
    "MAX_OUTPUTS": _outputs,
    "MAX_WATCHED_KATAS": _watched_katas,
    "PAGE_BYTES": _pages,
    "RESTORES_MEMORY_PERCENT": _restores,
    "RESTORE_BYTES": _restores,
    "DOWNLOADS_MEMORY_PERCENT": _downloads,
    "DOWNLOAD_BYTES": _downloads,
    "STREAM_MESSAGE_BYTES": _stream_message,
    "MAX_MANIFEST_BYTES": _manifest,
    "LARGE_JSON_BYTES": _large_manifests,
    "WORKING_CALLS": _working_calls,
    "LARGE_LIGHT_BYTES": _large_lights,
    "MAX_LARGE_LIGHT_PROCESSES": _large_lights,
    "MAX_CHECKING_PROCESSES": _checks,
    "SMALL_CHECKED_BYTES": _checks,
    "SMALL_CHECKED_FILES": _checks,
    "SMALL_CHECKED_SECONDS": _checks,
    "MAX_FETCHES": _fetches,
    "MAX_FETCHES_FOR_ONE": _fetches_for_one,
    "MAX_WAITING_FOR_ONE_LOCK": _waiting_for_one_lock,
    "MAX_WAITING_CALLS": _waiting_calls,
    "MESSAGE_BYTES": _message_bytes,
    "CALLS_MEMORY_PERCENT": _requests,
    "REQUEST_FACTOR": _requests,
    "RESPONSE_FACTOR": _responses,
    "RECEIVED_MEMORY_PERCENT": _receiving,
    "SMALL_RECEIVE_SECONDS": _receiving,
    "FAST_RECEIVE_SECONDS": _receiving,
    "RECEIVE_SECONDS": _receiving,
}


@contextmanager
def silent(watched: Watched, rpc: str, count: int) -> Iterator[list[Any]]:
    """Begin calls whose request never comes; they are cancelled in the end."""
    is_over = threading.Event()

    def nothing() -> Iterator[bytes]:
        is_over.wait()
        yield from ()

    channel: Any = watched.channel
    method = channel.stream_unary(f"/{rpc}")
    calls = [method.future(nothing(), timeout=SECONDS) for _ in range(count)]
    try:
        yield calls
    finally:
        is_over.set()
        for call in calls:
            call.cancel()
