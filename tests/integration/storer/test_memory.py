"""All calls together take a share of the storer's memory; more is refused, to be tried again."""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from cyberdojo.storer.v1 import storer_pb2
from support.refusals import code_to_judge, retry_seconds
from support.services import Service, code_of, wait_until
from support.storer.storing import FILES, Katas, Stub, a_test, kibibytes

CLIENTS = 64
LARGEST_SECONDS = 30  # each of the largest calls waits for those before it: most get no turn
SECONDS = 300
MIB = 1024 * 1024
LARGE = {**FILES, **{f"{number}.txt": bytes([65 + number]) * 15 * MIB for number in range(3)}}
MAX_KIBIBYTES = 2048 * 1024 * 3 // 4


def outcomes(service: Service, call: Callable[[Stub], object]) -> Counter[grpc.StatusCode]:
    """Make a call from many clients at the same time; count the statuses."""

    def make(_: int) -> grpc.StatusCode:
        options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(service.address, options) as channel:
            try:
                call(Stub(channel))
            except grpc.RpcError as error:
                return code_to_judge(error)
            return grpc.StatusCode.OK

    with ThreadPoolExecutor(CLIENTS) as clients:
        return Counter(clients.map(make, range(CLIENTS)))


def assert_refused(error: grpc.RpcError) -> None:
    """Check that a call is to be tried again, when others need less memory."""
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert retry_seconds(error) is not None


def test_the_largest_calls_of_many_clients_fit_into_the_memory(
    start_storer: Callable[..., Service], client: Callable[[Service], Katas]
) -> None:
    service = start_storer()
    katas = client(service)
    kata_id = katas.started("whale")
    katas.record(kata_id, "whale", LARGE)
    test = a_test(kata_id, "whale", LARGE)
    recorded = outcomes(service, lambda stub: stub.RecordTest(test, timeout=LARGEST_SECONDS))
    assert kibibytes(service.pid, "VmHWM") < MAX_KIBIBYTES
    request = storer_pb2.GetFilesRequest(kata_id=kata_id, avatar="whale", light_number=1)
    read = outcomes(service, lambda stub: stub.GetFiles(request, timeout=LARGEST_SECONDS))
    assert kibibytes(service.pid, "VmHWM") < MAX_KIBIBYTES
    for statuses in (recorded, read):
        assert statuses[grpc.StatusCode.OK]
        assert set(statuses) <= {
            grpc.StatusCode.OK,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            grpc.StatusCode.DEADLINE_EXCEEDED,
        }
    # What was refused or answered holds nothing.
    katas.record(kata_id, "whale", LARGE)
    assert katas.files(kata_id, "whale", 1).light.number == 1


def test_the_largest_messages_of_many_restores_fit_into_the_memory(
    start_storer: Callable[..., Service], client: Callable[[Service], Katas]
) -> None:
    service = start_storer()
    katas = client(service)
    large = [BEGIN, storer_pb2.RestoreKataRequest(data=bytes(16 * MIB))]
    refused = outcomes(service, lambda stub: stub.RestoreKata(iter(large), timeout=SECONDS))
    assert kibibytes(service.pid, "VmHWM") < MAX_KIBIBYTES
    assert refused[grpc.StatusCode.INVALID_ARGUMENT]  # the message is too large
    assert set(refused) <= {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INVALID_ARGUMENT}
    kata_id = katas.started("whale")
    tar = katas.tar(kata_id)
    katas.delete(kata_id)
    katas.restore(tar)
    assert list(katas.get(kata_id).avatars) == ["whale"]


BEGIN = storer_pb2.RestoreKataRequest(header=storer_pb2.RestoreKataHeader())


def test_restores_that_send_nothing_are_refused_when_there_are_too_many_and_hold_up_no_others(
    start_storer: Callable[..., Service], client: Callable[[Service], Katas]
) -> None:
    service = start_storer()
    katas = client(service)
    kata_id = katas.started("whale")
    tar = katas.tar(kata_id)
    end = threading.Event()

    def requests() -> Iterator[storer_pb2.RestoreKataRequest]:
        yield BEGIN
        end.wait()

    with grpc.insecure_channel(service.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        begun = [Stub(channel).RestoreKata.future(requests()) for _ in range(CLIENTS)]
        wait_until(lambda: any(call.done() for call in begun))
        with pytest.raises(grpc.RpcError) as refused:
            next(call for call in begun if call.done()).result()
        assert_refused(refused.value)
        katas.record(kata_id, "whale", LARGE)
        assert len(katas.tar(kata_id)) > len(tar)
        assert len([call for call in begun if not call.done()]) >= 8
        end.set()
    wait_until(lambda: code_of(lambda: katas.restore(tar, overwrite=True)) is grpc.StatusCode.OK)


def test_downloads_that_nobody_reads_are_refused_when_there_are_too_many(
    start_storer: Callable[..., Service], client: Callable[[Service], Katas]
) -> None:
    service = start_storer()
    katas = client(service)
    kata_id = katas.started("whale")
    katas.record(kata_id, "whale", {**FILES, "noise": os.urandom(15 * MIB)})
    with grpc.insecure_channel(service.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        begun: list[Iterator[object]] = []
        with pytest.raises(grpc.RpcError) as refused:
            begin_downloads(Stub(channel), kata_id, begun)
        assert_refused(refused.value)
        assert len(begun) >= CLIENTS
        assert kibibytes(service.pid, "VmHWM") < MAX_KIBIBYTES
    wait_until(lambda: len(katas.tar(kata_id)) > 15 * MIB)


def begin_downloads(stub: Stub, kata_id: str, begun: list[Iterator[object]]) -> None:
    """Begin downloads, which nobody reads, until one is refused; add them to `begun`."""
    request = storer_pb2.DownloadKataRequest(kata_id=kata_id)
    while len(begun) < 1000:
        download = iter(stub.DownloadKata(request))
        next(download)
        begun.append(download)
