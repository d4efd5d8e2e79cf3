"""Many and large submissions: what is too much is refused, with a time to retry."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed

import grpc

from cyberdojo.runner.v1 import runner_pb2
from dojo import avatars, limits
from support.kata_folders import Kata
from support.refusals import retry_seconds
from support.runner.submissions import GREEN, Stub, assert_serves, held, request
from support.services import Service
from support.storer.storing import kibibytes

MIB = 1024 * 1024
CONTAINER_KIBIBYTES = 2 * MIB  # docker-compose.yml's mem_limit
CALLERS = 8  # more than the large requests that may arrive at once; one has its turn in 8 s


def code_of(call: "grpc.Future[runner_pb2.RunResponse]") -> tuple[grpc.StatusCode, float]:
    """Return how a call ended, and after how many seconds it may be tried again."""
    try:
        call.result(timeout=240)
    except grpc.RpcError as error:
        return error.code(), retry_seconds(error) or 0
    return grpc.StatusCode.OK, 0


def test_one_avatar_does_not_fill_the_queue(runner: Stub, started_kata: Kata) -> None:
    first = held(runner, started_kata)
    calls = [runner.Run.future(request(started_kata), timeout=240) for _ in range(257)]
    started_kata.start_avatar("zebra")
    other = runner.Run(request(started_kata, avatar="zebra"), timeout=60)
    assert other.colour == GREEN
    first.release()
    codes = [code_of(call) for call in calls]
    refused = [seconds for code, seconds in codes if code is grpc.StatusCode.RESOURCE_EXHAUSTED]
    assert len(refused) == 257 - limits.MAX_RUNS_OF_AVATAR + 1
    assert all(seconds >= 1 for seconds in refused)


def test_large_submissions_stay_within_the_memory_of_the_runner(
    start_runner: Callable[..., Service], client: Callable[[Service], Stub], started_kata: Kata
) -> None:
    service = start_runner(CYBER_DOJO_RUNNER_MAX_CONCURRENT_RUNS="2")
    runner = client(service)
    for avatar in avatars.NAMES:
        if not started_kata.avatar_folder(avatar).exists():
            started_kata.start_avatar(avatar)
    files = {f"{number}.txt": bytes(16 * MIB) for number in range(3)}
    files["0.txt"] = files["0.txt"][:-MIB]  # room for cyber-dojo.sh

    def press(number: int) -> tuple[grpc.StatusCode, float]:
        avatar = avatars.NAMES[number % len(avatars.NAMES)]
        asked = request(started_kata, "sleep 1; echo tests: passed", files, avatar=avatar)
        return code_of(runner.Run.future(asked, timeout=240))

    with ThreadPoolExecutor(CALLERS) as threads:
        codes = [
            each.result() for each in as_completed(threads.submit(press, n) for n in range(CALLERS))
        ]
    found = {code for code, _ in codes}
    assert found == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert all(s >= 1 for code, s in codes if code is grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert kibibytes(service.pid, "VmHWM") < 0.75 * CONTAINER_KIBIBYTES
    assert_serves(runner, started_kata)
