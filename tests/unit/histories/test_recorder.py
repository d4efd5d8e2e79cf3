"""A recorder keeps what clients ask for, when, and how it ended."""

import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import grpc
import pytest

from cyber_dojo_client import refused
from cyberdojo.refusal.v1 import refusal_pb2
from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from support.histories.attempts import (
    STALE_NUMBER,
    Attempt,
    Outcome,
    create_kata,
    delete_kata,
    record_test,
)
from support.histories.recorder import Recorder

CALL = record_test("493A06504A", "whale", "content", "request", 3)


def ticking() -> Recorder:
    """Return a recorder whose clock goes on by a second each time that it is read."""
    times: Iterator[int] = count(1)
    return Recorder(lambda: float(next(times)))


def refusal(code: grpc.StatusCode, reason: str, **metadata: str) -> grpc.RpcError:
    """Return what a client raises for a refusal of a service."""
    number, _ = code.value
    return refused(
        refusal_pb2.Refusal(
            status=number,
            reason=refusal_pb2.Reason.Value(f"REASON_{reason}"),
            metadata=metadata,
        )
    )


def attempt_of(error: BaseException) -> Attempt:
    """Return what is recorded of a call that raises this."""
    recorder = ticking()
    with pytest.raises(type(error)), recorder.sending(CALL):
        raise error
    (attempt,) = recorder.attempts()
    return attempt


def test_a_call_that_was_acknowledged() -> None:
    recorder = ticking()
    with recorder.sending(CALL, "7") as sending:
        sending.acknowledge(3)
    assert recorder.attempts() == [Attempt(CALL, 1, 2, Outcome.ACKNOWLEDGED, 3, client="7")]


def test_a_call_that_was_refused() -> None:
    stale = refusal(grpc.StatusCode.ABORTED, STALE_NUMBER, newest_number="5")
    expected = Attempt(CALL, 1, 2, Outcome.REFUSED, None, STALE_NUMBER, 5)
    assert attempt_of(stale) == expected


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.NOT_FOUND, "NO_SUCH_KATA"),
        (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_FIELD"),
        (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "AVATARS_TAKEN"),
    ],
)
def test_a_refusal_with_a_reason_was_surely_not_done(code: grpc.StatusCode, reason: str) -> None:
    attempt = attempt_of(refusal(code, reason))
    assert (attempt.outcome, attempt.reason) == (Outcome.REFUSED, reason)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.UNAVAILABLE, "STOPPING"),
        (grpc.StatusCode.INTERNAL, "DEFECT"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "DISK_FULL"),
        (grpc.StatusCode.FAILED_PRECONDITION, "DISK_FAILED"),
        (grpc.StatusCode.DATA_LOSS, "KATA_DAMAGED"),
    ],
)
def test_what_may_fail_in_the_middle_has_an_unknown_outcome(
    code: grpc.StatusCode, reason: str
) -> None:
    attempt = attempt_of(refusal(code, reason))
    assert (attempt.outcome, attempt.reason) == (Outcome.UNKNOWN, reason)


def test_a_call_that_reached_nobody_has_an_unknown_outcome() -> None:
    recorder = ticking()
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        stub = storer_pb2_grpc.StorerServiceStub(channel)
        with pytest.raises(grpc.RpcError), recorder.sending(CALL):
            stub.RecordTest(storer_pb2.RecordTestRequest(), timeout=5)
    (attempt,) = recorder.attempts()
    assert (attempt.outcome, attempt.reason) == (Outcome.UNKNOWN, "UNAVAILABLE")


def test_a_client_that_is_interrupted_leaves_an_unknown_outcome() -> None:
    assert attempt_of(KeyboardInterrupt()).outcome is Outcome.UNKNOWN


def test_what_fails_after_the_answer_is_none_of_the_calls() -> None:
    recorder = ticking()

    def delete() -> None:
        with recorder.sending(delete_kata("493A06504A")) as sending:
            sending.acknowledge(None)
            raise AssertionError

    with pytest.raises(AssertionError):
        delete()
    (attempt,) = recorder.attempts()
    assert attempt.outcome is Outcome.ACKNOWLEDGED


def test_an_answer_has_to_be_told_and_to_be_one() -> None:
    recorder = ticking()
    with pytest.raises(ValueError, match="nobody told the answer"), recorder.sending(CALL):
        pass
    with pytest.raises(ValueError, match="of another call"), recorder.sending(CALL) as sending:
        sending.acknowledge("whale")
    assert {each.outcome for each in recorder.attempts()} == {Outcome.UNKNOWN}


def test_a_call_that_goes_on_is_there_with_an_unknown_outcome() -> None:
    recorder = ticking()
    with recorder.sending(CALL) as sending:
        assert recorder.attempts() == [Attempt(CALL, 1, math.inf, Outcome.UNKNOWN)]
        sending.acknowledge(3)
    assert len(recorder.attempts()) == 1


def test_many_threads_record_at_once() -> None:
    recorder = Recorder()
    together = threading.Barrier(8)

    def send(client: int) -> None:
        together.wait()
        for number in range(100):
            with recorder.sending(create_kata("files", f"{client} {number}"), str(client)) as sent:
                sent.acknowledge(f"{client} {number}")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(send, range(8)))
    attempts = recorder.attempts()
    assert len(attempts) == 800
    assert all(each.answer == each.call.request_id for each in attempts)
    assert all(each.sent <= each.ended for each in attempts)
