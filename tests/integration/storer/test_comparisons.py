"""The largest comparisons that are allowed: nobody else waits for them, and nothing remains."""

import random
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from cyberdojo.storer.v1 import storer_pb2
from dojo import limits
from dojo.visible_files import MAX_FILE_BYTES
from storer.api import comparer
from support.processes import children_of, command_of
from support.services import Service, wait_until
from support.storer.storing import FILES, Katas, kibibytes, refused

Files = Mapping[str, bytes]
Inputs = tuple[Files, Files]
Rpc = Callable[[Katas, str, float | None], object]

chance = random.Random(11)  # noqa: S311 - no secret

MAX_STORER_KIBIBYTES = 400 * 1024  # of the container's 2 GiB


def random_lines(count: int) -> Inputs:
    old, new = (
        b"".join(b"%d\n" % chance.randrange(1000) for _ in range(count)) for _ in ("old", "new")
    )
    return {"a": old}, {"a": new}


def empty_lines(count: int) -> Inputs:
    return {"a": b"\n" * count}, {"a": b"\n" * (count - 1) + b"x"}


def renamed_files(count: int) -> Inputs:
    old, new = (
        {f"{start}{number}": b"%d\n" % chance.getrandbits(400) for number in range(count)}
        for start in ("old", "new")
    )
    return old, new


def slowest() -> Inputs:
    """Return lights that take seconds."""
    return random_lines(limits.MAX_COMPARED_LINES // 2 - 1)


INPUTS: dict[str, Callable[[], Inputs]] = {
    "6 MiB of empty lines": lambda: empty_lines(6 * 1024 * 1024),
    "16 MiB of empty lines": lambda: empty_lines(MAX_FILE_BYTES),
    "as many lines as are compared": lambda: empty_lines(limits.MAX_COMPARED_LINES // 2),
    "1,500,000 random lines": lambda: random_lines(1_500_000),
    "2,000 files replaced": lambda: renamed_files(2000),
    "the slowest": slowest,
}


def diff_lights(katas: Katas, kata_id: str, timeout: float | None = None) -> object:
    request = storer_pb2.DiffLightsRequest(
        kata_id=kata_id, avatar="whale", was_number=1, now_number=2
    )
    return katas.stub.DiffLights(request, timeout=timeout)


def download_patch(katas: Katas, kata_id: str, timeout: float | None = None) -> object:
    request = storer_pb2.DownloadPatchRequest(
        kata_id=kata_id, avatar="whale", was_number=1, now_number=2
    )
    return list(katas.stub.DownloadPatch(request, timeout=timeout))


RPCS = pytest.mark.parametrize("rpc", [diff_lights, download_patch])


@pytest.fixture
def service(start_storer: Callable[..., Service]) -> Service:
    """A storer for one test, whose memory and processes are looked at."""
    return start_storer()


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    """A thread for a call that takes long."""
    with ThreadPoolExecutor(1) as executor:
        yield executor


def recorded(katas: Katas, inputs: Inputs) -> str:
    """Record two lights of the whale; return the kata's id."""
    kata_id = katas.started("whale", "zebra")
    for files in inputs:
        katas.record(kata_id, "whale", files)
    return kata_id


def processes(service: Service) -> list[int]:
    """Return the processes that compare for a storer. It has others for large lights."""
    return [pid for pid in children_of(service.pid) if comparer.__name__ in command_of(pid)]


def started(
    thread: ThreadPoolExecutor, service: Service, call: Callable[[], object]
) -> Future[object]:
    """Make a call in a thread; return it when a process compares for it."""
    future = thread.submit(call)
    wait_until(lambda: processes(service) or future.done())
    assert processes(service), future.result()
    return future


@pytest.mark.parametrize("name", INPUTS)
@RPCS
def test_a_comparison_takes_a_bounded_share_of_the_storers_memory(
    service: Service, client: Callable[[Service], Katas], name: str, rpc: Rpc
) -> None:
    katas = client(service)
    kata_id = recorded(katas, INPUTS[name]())
    Path(f"/proc/{service.pid}/clear_refs").write_text("5")  # the peak begins anew
    assert rpc(katas, kata_id, None)
    assert kibibytes(service.pid, "VmHWM") < MAX_STORER_KIBIBYTES
    assert processes(service) == []


@RPCS
def test_others_are_answered_while_the_slowest_comparison_goes_on(
    service: Service, client: Callable[[Service], Katas], thread: ThreadPoolExecutor, rpc: Rpc
) -> None:
    katas = client(service)
    kata_id = recorded(katas, slowest())
    slow = started(thread, service, lambda: rpc(katas, kata_id, None))
    for number in range(1, 6):
        assert katas.get(kata_id).kata_id == kata_id
        assert katas.record(kata_id, "zebra", FILES).number == number
        assert katas.diff(kata_id, "zebra", number - 1, number)
    assert not slow.done()
    assert slow.result()


@RPCS
def test_a_comparison_ends_at_the_callers_deadline(
    service: Service, client: Callable[[Service], Katas], thread: ThreadPoolExecutor, rpc: Rpc
) -> None:
    katas = client(service)
    kata_id = recorded(katas, slowest())

    def call() -> None:
        with refused(grpc.StatusCode.DEADLINE_EXCEEDED):
            rpc(katas, kata_id, 1.5)

    started(thread, service, call).result()
    wait_until(lambda: not processes(service))


@RPCS
def test_a_comparison_ends_when_the_caller_leaves(
    service: Service, client: Callable[[Service], Katas], rpc: Rpc
) -> None:
    katas = client(service)
    kata_id = recorded(katas, slowest())
    fields: Any = {"kata_id": kata_id, "avatar": "whale", "was_number": 1, "now_number": 2}
    call: Any = (
        katas.stub.DiffLights.future(storer_pb2.DiffLightsRequest(**fields))
        if rpc is diff_lights
        else katas.stub.DownloadPatch(storer_pb2.DownloadPatchRequest(**fields))
    )
    wait_until(lambda: processes(service))
    call.cancel()
    wait_until(lambda: not processes(service))
    service.wait_for_event(lambda event: event["event"] == "cancelled")


def test_a_process_that_compares_ends_with_the_storer(
    service: Service, client: Callable[[Service], Katas], thread: ThreadPoolExecutor
) -> None:
    katas = client(service)
    kata_id = recorded(katas, slowest())

    def call() -> None:
        with refused(grpc.StatusCode.UNAVAILABLE):
            diff_lights(katas, kata_id)

    slow = started(thread, service, call)
    (process,) = processes(service)
    wait_until(lambda: b"comparer" in Path(f"/proc/{process}/cmdline").read_bytes())
    service.kill()
    slow.result()
    wait_until(lambda: not Path(f"/proc/{process}").exists())


def test_a_call_beyond_those_that_compare_is_told_when_to_come_again(
    service: Service, client: Callable[[Service], Katas]
) -> None:
    katas = client(service)
    kata_id = recorded(katas, slowest())
    outcomes = []

    def call(_: int) -> None:
        try:
            outcomes.append(bool(diff_lights(katas, kata_id)))
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # noqa: PT017
            outcomes.append(False)

    with ThreadPoolExecutor(12) as threads:
        calls = [threads.submit(call, number) for number in range(12)]
        wait_until(lambda: len(processes(service)) == limits.MAX_COMPARING_PROCESSES)
        assert katas.get(kata_id).kata_id == kata_id
        for each in calls:
            each.result()
    assert any(outcomes)
    assert processes(service) == []
