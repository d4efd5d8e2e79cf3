"""All calls together take a share of the storer's memory; more is refused, to be tried again."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc

from cyberdojo.storer.v1 import storer_pb2
from support.refusals import code_to_judge
from support.services import Service
from support.storer.storing import FILES, Katas, Stub, a_test, kibibytes

CLIENTS = 64
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


def test_the_largest_calls_of_many_clients_fit_into_the_memory(
    start_storer: Callable[..., Service], client: Callable[[Service], Katas]
) -> None:
    service = start_storer()
    katas = client(service)
    kata_id = katas.started("whale")
    katas.record(kata_id, "whale", LARGE)
    test = a_test(kata_id, "whale", LARGE)
    recorded = outcomes(service, lambda stub: stub.RecordTest(test, timeout=SECONDS))
    assert kibibytes(service.pid, "VmHWM") < MAX_KIBIBYTES
    request = storer_pb2.GetFilesRequest(kata_id=kata_id, avatar="whale", light_number=1)
    read = outcomes(service, lambda stub: stub.GetFiles(request, timeout=SECONDS))
    assert kibibytes(service.pid, "VmHWM") < MAX_KIBIBYTES
    for statuses in (recorded, read):
        assert statuses[grpc.StatusCode.OK]
        assert set(statuses) <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    # What was refused or answered holds nothing.
    katas.record(kata_id, "whale", LARGE)
    assert katas.files(kata_id, "whale", 1).light.number == 1
