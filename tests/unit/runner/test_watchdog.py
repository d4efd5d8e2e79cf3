"""The watchdog ends runs that do not end by themselves in time."""

import pytest

from dojo.errors import EngineUnavailable
from runner.run import watchdog
from runner.run.watchdog import EndedBy, Watchdog

MOMENT = 0.001  # seconds


class Clock:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(watchdog, "time", clock)
    return clock


class Run:
    """A run that can be killed as long as it exists, and a disk that may be too full."""

    def __init__(self, max_seconds: int = 10) -> None:
        self.is_there = True
        self.excess: str | None = None
        self.kills = 0
        self.looks: list[float] = []
        self.look_seconds = 0.0
        self.watchdog = Watchdog(self._kill, self._disk, max_seconds)

    def _kill(self) -> bool:
        self.kills += 1
        return self.is_there

    def _disk(self) -> str | None:
        return self.excess

    def follow(self, clock: Clock, seconds: float) -> None:
        """Check as often as the watchdog asks, for `seconds`. A check takes a moment."""
        end = clock.now + seconds
        while clock.now < end:
            clock.now += self.watchdog.check() + MOMENT


def test_a_run_that_ends_by_itself_in_time_is_left_alone(clock: Clock) -> None:
    run = Run()
    run.watchdog.begin()
    run.follow(clock, 9.9)
    assert (run.watchdog.ended_by, run.watchdog.reason, run.kills) == (EndedBy.ITSELF, "", 0)


def test_a_run_is_ended_when_its_time_is_over_and_not_before(clock: Clock) -> None:
    run = Run(max_seconds=3)
    run.watchdog.begin()
    begin = clock.now
    while run.watchdog.ended_by is EndedBy.ITSELF:
        clock.now += run.watchdog.check()
    assert clock.now - begin >= 3
    assert clock.now - begin < 3 + 2 * watchdog.CHECK_SECONDS
    assert (run.watchdog.ended_by, run.watchdog.reason) == (
        EndedBy.TIMEOUT,
        "it took longer than 3 s",
    )
    assert run.kills == 1


def test_a_cancelled_call_ends_its_run_even_if_the_run_begins_later(clock: Clock) -> None:
    run = Run()
    run.watchdog.cancel()
    run.watchdog.begin()
    run.follow(clock, 1)
    assert run.watchdog.ended_by is EndedBy.CANCELLATION
    assert run.kills == 1


def test_a_disk_that_is_too_full_ends_a_run_with_a_reason(clock: Clock) -> None:
    run = Run()
    run.watchdog.begin()
    run.follow(clock, 1)
    run.excess = "more than 5 files"
    run.follow(clock, 1)
    assert run.watchdog.ended_by is EndedBy.DISK_LIMIT
    assert run.watchdog.reason == "it was ended: more than 5 files"


def test_measuring_a_large_sandbox_takes_at_most_a_tenth_of_the_time(clock: Clock) -> None:
    looked = []

    def slow() -> None:
        looked.append(clock.now)
        clock.now += 1.0

    following = Watchdog(lambda: True, slow, max_seconds=60)
    following.begin()
    end = clock.now + 50
    while clock.now < end:
        clock.now += following.check()
    assert 3 <= len(looked) <= 6


def test_a_run_that_ended_before_it_could_be_killed_ended_by_itself(clock: Clock) -> None:
    run = Run(max_seconds=1)
    run.is_there = False
    run.watchdog.begin()
    run.follow(clock, 5)
    assert run.watchdog.ended_by is EndedBy.ITSELF
    assert run.kills > 0


def test_a_killed_run_that_does_not_end_is_a_failure_of_the_engine(clock: Clock) -> None:
    run = Run(max_seconds=1)
    run.watchdog.begin()
    run.follow(clock, 2)
    assert run.watchdog.ended_by is EndedBy.TIMEOUT
    with pytest.raises(EngineUnavailable, match="did not end"):
        run.follow(clock, 600)
    assert run.kills == 1
