"""RunStream: the output during the test."""

import grpc

from cyberdojo.runner.v1 import runner_pb2
from dojo.engine.client import Engine
from support.kata_folders import Kata
from support.runner.submissions import (
    AVATAR,
    GREEN,
    Stub,
    assert_serves,
    containers,
    refused,
    request,
)
from support.services import wait_until


def asked(kata: Kata, script: str) -> runner_pb2.RunStreamRequest:
    return runner_pb2.RunStreamRequest(run=request(kata, script, max_seconds=30))


def test_output_arrives_while_the_test_runs_and_the_result_comes_last(
    runner: Stub, started_kata: Kata
) -> None:
    script = "echo one; echo two >&2; until [ -e go ]; do sleep 0.01; done; echo tests: passed"
    responses = runner.RunStream(asked(started_kata, script), timeout=60)
    parts = iter(responses)
    assert next(parts).HasField("started")
    early = [next(parts), next(parts)]
    assert sorted(part.stdout + part.stderr for part in early) == [b"one\n", b"two\n"]
    (started_kata.sandbox(AVATAR) / "go").touch()
    *rest, last = parts
    assert b"".join(part.stdout for part in rest) == b"tests: passed\n"
    assert last.result.colour == GREEN
    assert last.result.stdout.content == b"one\ntests: passed\n"
    assert last.result.stderr.content == b"two\n"


def test_the_streamed_output_is_that_of_the_result(runner: Stub, started_kata: Kata) -> None:
    parts = list(runner.RunStream(asked(started_kata, "head -c 3000000 /dev/zero"), timeout=60))
    result = parts[-1].result
    assert b"".join(part.stdout for part in parts) == result.stdout.content == bytes(51200)
    assert result.stdout.truncated


def test_a_run_without_output_streams_its_start_and_its_result(
    runner: Stub, started_kata: Kata
) -> None:
    started, result = runner.RunStream(asked(started_kata, "exit 3"), timeout=60)
    assert started.HasField("started")
    assert result.result.status == 3


def test_a_run_that_waits_says_how_many_are_ahead_and_when_it_starts(
    runner: Stub, started_kata: Kata
) -> None:
    script = "touch here; until [ -e go ]; do sleep 0.01; done; rm go"
    first = runner.Run.future(request(started_kata, script, max_seconds=60))
    wait_until((started_kata.sandbox(AVATAR) / "here").exists)
    second = iter(runner.RunStream(asked(started_kata, script), timeout=60))
    assert next(second).waiting == runner_pb2.RunWaiting(ahead=0)
    third = iter(runner.RunStream(asked(started_kata, "echo tests: passed"), timeout=60))
    assert next(third).waiting == runner_pb2.RunWaiting(ahead=1)
    (started_kata.sandbox(AVATAR) / "go").touch()
    assert next(second).HasField("started")
    assert next(third).waiting == runner_pb2.RunWaiting(ahead=0)
    assert first.result().status == 0
    (started_kata.sandbox(AVATAR) / "go").touch()
    assert next(second).HasField("result")
    assert next(third).HasField("started")
    *_, last = third
    assert last.result.colour == GREEN


def test_output_that_comes_byte_by_byte_is_sent_in_few_pieces(
    runner: Stub, started_kata: Kata
) -> None:
    script = "i=0; while [ $i -lt 3000 ]; do printf x; i=$((i+1)); done"
    *parts, last = runner.RunStream(asked(started_kata, script), timeout=60)
    pieces = [part.stdout for part in parts if part.WhichOneof("part") == "stdout"]
    assert b"".join(pieces) == last.result.stdout.content == b"x" * 3000
    assert len(pieces) < 1500


def test_a_caller_that_disconnects_ends_the_run(
    runner: Stub, started_kata: Kata, engine: Engine
) -> None:
    responses = runner.RunStream(asked(started_kata, "echo one; sleep 1000"), timeout=60)
    parts = iter(responses)
    assert next(parts).HasField("started")
    assert next(parts).stdout == b"one\n"
    assert containers(engine, started_kata)
    responses.cancel()
    wait_until(lambda: not containers(engine, started_kata))
    assert_serves(runner, started_kata)


def test_run_stream_refuses_what_run_refuses(runner: Stub, started_kata: Kata) -> None:
    nothing = runner_pb2.RunStreamRequest()
    refused(lambda: list(runner.RunStream(nothing)), grpc.StatusCode.INVALID_ARGUMENT)
    elsewhere = asked(started_kata, "true")
    elsewhere.run.kata_id = "0000000000"
    refused(lambda: list(runner.RunStream(elsewhere)), grpc.StatusCode.NOT_FOUND)
