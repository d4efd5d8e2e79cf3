"""Submissions for tests of the runner."""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker.errors
import grpc
import pytest

from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.runner.v1 import runner_pb2, runner_pb2_grpc
from dojo import naming
from dojo.engine.client import Engine
from support.kata_folders import Kata
from support.refusals import bad_fields, check_reason
from support.services import wait_until

Stub = runner_pb2_grpc.RunnerServiceStub
Run = Callable[..., runner_pb2.RunResponse]

RED, AMBER, GREEN = colour_pb2.COLOUR_RED, colour_pb2.COLOUR_AMBER, colour_pb2.COLOUR_GREEN
TIMED_OUT, FAULTY = colour_pb2.COLOUR_TIMED_OUT, colour_pb2.COLOUR_FAULTY

AVATAR = "whale"
PYTHON = "cyberdojofoundation/python_pytest"
GCC = "cyberdojofoundation/gcc_assert"

# Half of the time limit of a run.
_BESIDE_SECONDS = 30

# Runs in these tests print `tests: passed` or `tests: failed`.
COLOUR_RULE = colour_pb2.ColourRule(
    patterns=colour_pb2.ColourPatterns(
        patterns=[
            colour_pb2.ColourPattern(colour=colour_pb2.COLOUR_RED, pattern="(?m)^tests: failed$"),
            colour_pb2.ColourPattern(colour=colour_pb2.COLOUR_GREEN, pattern="(?m)^tests: passed$"),
        ]
    )
)


def request(
    kata: Kata,
    script: str = "echo tests: passed",
    files: Mapping[str, bytes] | None = None,
    **fields: object,
) -> runner_pb2.RunRequest:
    """Return a request to run `script`, with `files` beside it."""
    made = runner_pb2.RunRequest(
        kata_id=kata.id,
        avatar=AVATAR,
        image_name=PYTHON,
        files={"cyber-dojo.sh": script.encode(), **(files or {})},
        max_seconds=60,
        colour_rule=COLOUR_RULE,
    )
    for name, value in fields.items():
        if name == "colour_rule":
            made.colour_rule.CopyFrom(value)  # type: ignore[arg-type]
        else:
            setattr(made, name, value)
    return made


def a_run(kata_id: str, script: bytes = b"echo tests: passed") -> runner_pb2.RunRequest:
    """Return the request that runs a script as the avatar of these tests."""
    return runner_pb2.RunRequest(
        kata_id=kata_id,
        avatar=AVATAR,
        image_name=PYTHON,
        files={"cyber-dojo.sh": script},
        max_seconds=30,
        colour_rule=COLOUR_RULE,
    )


def runs_in(runner: Stub, kata: Kata) -> Run:
    """Return a function that runs a script with files in the kata: `run("make", {...})`."""

    def run(script: str = "echo tests: passed", *arguments: object, **fields: object) -> object:
        made = request(kata, script, *arguments, **fields)  # type: ignore[arg-type]
        return runner.Run(made, timeout=120)

    return run  # type: ignore[return-value]


def prepare(runner: Stub, kata: Kata, avatar: str = AVATAR, image_name: str = PYTHON) -> bool:
    """Prepare a warm container; return whether one waits now."""
    preparing = runner_pb2.PrepareRequest(kata_id=kata.id, avatar=avatar, image_name=image_name)
    return runner.Prepare(preparing, timeout=60).waiting


@dataclass(frozen=True)
class Held:
    """A run in progress, which ends when `release` is called."""

    call: "grpc.Future[runner_pb2.RunResponse]"
    sandbox: Path

    def release(self) -> runner_pb2.RunResponse:
        """Let the run end; return its response."""
        (self.sandbox / "go").touch()
        return self.call.result(timeout=60)


def held(runner: Stub, kata: Kata, avatar: str = AVATAR, timeout: float = 90) -> Held:
    """Start a run; return when its script is running."""
    script = "touch here; until [ -e go ]; do sleep 0.01; done; rm here go; echo tests: passed"
    call = runner.Run.future(request(kata, script, avatar=avatar, max_seconds=60), timeout=timeout)
    sandbox = kata.sandbox(avatar)
    wait_until(lambda: (sandbox / "here").exists() or call.done())
    assert not call.done(), call.result()
    return Held(call, sandbox)


@contextmanager
def beside(runner: Stub, kata: Kata, avatar: str) -> Iterator[None]:
    """Keep an avatar running during the block, and assert that each of its lights is right.

    Long runs follow each other, because one run may not last as long as a test on a busy machine.
    """
    is_over = threading.Event()

    def follow_each_other(first: Held) -> None:
        run = first
        while not is_over.wait(_BESIDE_SECONDS):
            _assert_passed(run.release())
            run = held(runner, kata, avatar)
        _assert_passed(run.release())

    first = held(runner, kata, avatar)
    with ThreadPoolExecutor(1) as threads:
        following = threads.submit(follow_each_other, first)
        try:
            yield
        finally:
            is_over.set()
        following.result()


def _assert_passed(response: runner_pb2.RunResponse) -> None:
    assert (response.colour, response.stdout.content) == (GREEN, b"tests: passed\n")


def containers(engine: Engine, kata: Kata) -> list[str]:
    """Return the containers of the kata's runs, in any state, without the warm ones."""
    return [each for each in _containers(engine, kata) if not _is_waiting(engine, each)]


def waiting_containers(engine: Engine, kata: Kata) -> list[str]:
    """Return the warm containers that wait for a run of the kata."""
    return [each for each in _containers(engine, kata) if _is_waiting(engine, each)]


def _containers(engine: Engine, kata: Kata) -> list[str]:
    labels = [f"{naming.KIND_LABEL}=run", f"{naming.KATA_LABEL}={kata.id}"]
    found = engine.api.containers(all=True, filters={"label": labels})
    return [container["Id"] for container in found]


def _is_waiting(engine: Engine, container: str) -> bool:
    """Return whether a container has only its first process and the shell that waits.

    A launcher, and the two processes with which the next run waits, may be there too. They are no
    children of theirs: they came from outside.
    """
    try:
        first = engine.api.inspect_container(container)["State"]["Pid"]
    except docker.errors.NotFound:
        return False
    found = children(first)
    if len(found) != 1 or children(found[0]):
        return False
    own = {first, found[0]}
    try:
        others = [int(row[1]) for row in engine.api.top(container)["Processes"] or ()]
    except docker.errors.APIError:  # it has ended
        return False
    return len([pid for pid in others if pid not in own]) <= 3


def children(pid: int) -> list[int]:
    """Return a process's children; none if the process has ended."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(child) for child in found.split()]


def refused(call: Callable[[], object], code: grpc.StatusCode) -> Any:
    """Return the error that `call` raises, and assert its status. The error is also a grpc.Call."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error = caught.value
    assert error.code() is code, f"{error.code()}: {error.details()}"
    check_reason(error)
    return error


def bad_field(call: Callable[[], object]) -> str:
    """Return the field that the error details of `call` name."""
    field: str = bad_fields(refused(call, grpc.StatusCode.INVALID_ARGUMENT))[0].field
    return field


def assert_serves(runner: Stub, kata: Kata) -> None:
    """Assert that a good submission is green."""
    response = runner.Run(request(kata), timeout=120)
    assert response.colour == GREEN, response
