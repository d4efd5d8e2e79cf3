"""What tests of the runner start from, besides what every test does."""

from collections.abc import Callable

import pytest
from kata_folders import Kata
from submissions import AVATAR, request

from cyberdojo.runner.v1 import runner_pb2, runner_pb2_grpc

Run = Callable[..., runner_pb2.RunResponse]


@pytest.fixture
def started_kata(kata: Kata) -> Kata:
    """A kata in which the whale was started."""
    kata.start_avatar(AVATAR)
    return kata


@pytest.fixture
def run(runner: runner_pb2_grpc.RunnerServiceStub, started_kata: Kata) -> Run:
    """Runs a script, and files beside it, in the whale's sandbox: `run("make", {...})`."""

    def run(script: str = "echo tests: passed", *arguments: object, **fields: object) -> object:
        made = request(started_kata, script, *arguments, **fields)  # type: ignore[arg-type]
        return runner.Run(made, timeout=90)

    return run  # type: ignore[return-value]
