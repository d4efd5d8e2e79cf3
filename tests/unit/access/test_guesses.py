"""Who tries ids that no kata has soon may try no more, and keeps the katas used before."""

import threading
from collections.abc import Iterator
from contextvars import copy_context
from dataclasses import dataclass

import pytest

from cyberdojo.runner.v1 import runner_pb2
from cyberdojo.storer.v1 import storer_pb2
from dojo.access import caller, guesses
from dojo.access.caller import Caller
from dojo.access.guesses import COMPLETION_GUESSES, Guesses
from dojo.access.roles import Role
from dojo.errors import KataNotFound, TooManyGuesses

PER_HOUR = 60
KATAS = {"493A06504A"}


@dataclass
class Clock:
    """A clock that is set by hand."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def bounded(clock: Clock) -> Iterator[Guesses]:
    """Guesses, and a web tier that makes the calls of this test."""
    guesses = Guesses(PER_HOUR, clock)
    call_as("web")
    yield guesses
    caller.use(Caller("", Role.OPERATOR, ""))


def call_as(name: str, role: Role = Role.WEB, participant: str = "") -> None:
    caller.use(Caller(name, role, "127.0.0.1:1", participant))


def get(bounded: Guesses, kata_id: str) -> None:
    with bounded.watching(storer_pb2.GetKataRequest(kata_id=kata_id)):
        if kata_id not in KATAS:
            raise KataNotFound(kata_id)


def tries(bounded: Guesses) -> int:
    """Try ids that no kata has, as long as that is allowed; return how many those were."""
    for count in range(10_000):
        try:
            get(bounded, f"{count:010}")
        except KataNotFound:
            continue
        except TooManyGuesses:
            return count
    raise AssertionError("nothing bounds the guesses")


def test_guesses_are_so_many_and_come_back_with_time(bounded: Guesses, clock: Clock) -> None:
    assert tries(bounded) == PER_HOUR
    clock.seconds += 60
    assert tries(bounded) == 1
    clock.seconds += 24 * 3600
    assert tries(bounded) == PER_HOUR  # no more are saved up


def test_whoever_has_none_left_is_told_when_and_learns_of_no_kata(bounded: Guesses) -> None:
    tries(bounded)
    with pytest.raises(TooManyGuesses) as caught:
        get(bounded, next(iter(KATAS)))
    assert caught.value.retry_seconds == pytest.approx(60)


def test_katas_that_were_used_before_can_be_used(bounded: Guesses) -> None:
    get(bounded, next(iter(KATAS)))
    tries(bounded)
    for _ in range(10 * PER_HOUR):
        get(bounded, next(iter(KATAS)))


def test_a_kata_that_a_caller_has_created_can_be_used(bounded: Guesses) -> None:
    tries(bounded)
    with bounded.watching(storer_pb2.CreateKataRequest()):
        guesses.used("493A06504A")
    get(bounded, "493A06504A")


def test_one_participant_does_not_guess_for_the_others_nor_one_caller(bounded: Guesses) -> None:
    call_as("web", participant="192.0.2.1")
    assert tries(bounded) == PER_HOUR
    call_as("web", participant="192.0.2.2")
    assert tries(bounded) == PER_HOUR
    call_as("board", Role.READER)
    assert tries(bounded) == PER_HOUR


def test_an_operator_may_try_what_it_likes(bounded: Guesses) -> None:
    call_as("op", Role.OPERATOR)
    with pytest.raises(AssertionError, match="nothing bounds"):
        tries(bounded)


def test_a_run_names_its_kata_too(bounded: Guesses) -> None:
    run = runner_pb2.RunRequest(kata_id="0000000000")
    for request in (run, runner_pb2.RunStreamRequest(run=run)):
        with pytest.raises(KataNotFound), bounded.watching(request):
            raise KataNotFound("0000000000")
    assert tries(bounded) == PER_HOUR - 2


def test_a_part_of_an_id_that_completes_to_nothing_counts_as_several(bounded: Guesses) -> None:
    request = storer_pb2.CompleteKataIdRequest(partial_id="493A06")
    for _ in range(100):
        with bounded.watching(request):
            pass  # it was completed
    for _ in range(PER_HOUR // COMPLETION_GUESSES):
        with bounded.watching(request):
            guesses.nothing_completed()
    with pytest.raises(TooManyGuesses), bounded.watching(request):
        pass


def test_calls_that_wait_for_their_turn_are_checked_again(bounded: Guesses) -> None:
    refused: list[TooManyGuesses] = []

    def work() -> None:
        try:
            guesses.check()
        except TooManyGuesses as error:
            refused.append(error)

    with bounded.watching(storer_pb2.GetKataRequest(kata_id="0000000000")):
        guesses.check()
        waiting = copy_context()
        bounded.spend(("web", ""), PER_HOUR)
        thread = threading.Thread(target=waiting.run, args=(work,))
        thread.start()
        thread.join()
    assert len(refused) == 1
    guesses.check()  # outside of a call


def test_guesses_at_the_same_time_are_paid_for_later(bounded: Guesses, clock: Clock) -> None:
    bounded.spend(("web", ""), 3 * PER_HOUR)
    clock.seconds += 2 * 3600
    assert tries(bounded) == 0
    clock.seconds += 60
    assert tries(bounded) == 1


def test_each_kata_of_a_call_about_several_counts_as_one_guess(bounded: Guesses) -> None:
    (known,) = KATAS
    several = storer_pb2.WatchKatasRequest(
        katas=[
            storer_pb2.WatchKataRequest(kata_id=each)
            for each in (known, *(f"{count:010}" for count in range(PER_HOUR)))
        ]
    )

    def watch() -> list[str]:
        """Return what comes of each kata."""
        told = []
        with bounded.watching(several):
            for each in several.katas:
                try:
                    with guesses.watching_part(each):
                        guesses.check()
                        if each.kata_id not in KATAS:
                            raise KataNotFound(each.kata_id)
                except (KataNotFound, TooManyGuesses) as error:
                    told.append(type(error).__name__)
                else:
                    told.append("watched")
        return told

    assert watch() == ["watched", *["KataNotFound"] * PER_HOUR]
    # The kata that was used before can be used still; of others nothing is told any more.
    assert watch() == ["watched", *["TooManyGuesses"] * PER_HOUR]
    with pytest.raises(TooManyGuesses):
        get(bounded, "0000000000")


def test_katas_of_a_call_are_not_counted_where_callers_have_no_names() -> None:
    with (
        pytest.raises(KataNotFound),
        guesses.watching_part(storer_pb2.WatchKataRequest(kata_id="0000000000")),
    ):
        raise KataNotFound("0000000000")
