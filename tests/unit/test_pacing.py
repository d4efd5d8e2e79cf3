"""Large messages leave time for small ones."""

import asyncio

from dojo import limits
from dojo.service.pacing import Pace

SECOND = limits.LARGE_MESSAGES_BYTES_PER_SECOND


class Clock:
    """A clock that stands still, but for what is slept."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.slept: list[float] = []

    def time(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds


def waits(*sizes: int, pause_seconds: float = 0.0) -> list[float]:
    """Return how long messages of these sizes wait, with pauses between them."""
    clock = Clock()
    pace = Pace(clock.time, clock.sleep)

    async def send() -> None:
        for size in sizes:
            await pace.turn(size)
            clock.seconds += pause_seconds

    asyncio.run(send())
    return clock.slept


def test_the_first_large_message_does_not_wait() -> None:
    assert waits(SECOND) == []


def test_a_large_message_waits_for_those_before_it_by_their_size() -> None:
    assert waits(SECOND // 2, SECOND, SECOND) == [0.5, 1.0]


def test_time_that_has_gone_is_not_waited_for() -> None:
    assert waits(SECOND, SECOND, SECOND, pause_seconds=2.0) == []


def test_a_small_message_never_waits() -> None:
    assert waits(SECOND, *[limits.SMALL_BYTES] * 3) == []
