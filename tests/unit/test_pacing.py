"""Large messages leave time for small ones."""

import asyncio

from dojo import limits
from dojo.service.pacing import Pace

QUICK = limits.QUICK_MESSAGE_BYTES
TURN = QUICK / limits.LARGE_MESSAGES_BYTES_PER_SECOND  # what such a message takes


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
    assert waits(8 * QUICK) == []


def test_a_large_message_waits_for_those_before_it_by_their_size() -> None:
    assert waits(QUICK // 2, QUICK, QUICK) == [TURN / 2, TURN]


def test_what_stops_others_for_long_counts_for_more_than_its_size() -> None:
    assert waits(2 * QUICK, 6 * QUICK, 2 * QUICK) == [4 * TURN, 36 * TURN]


def test_what_stops_others_for_long_keeps_no_others_waiting() -> None:
    assert waits(6 * QUICK, QUICK, 6 * QUICK, QUICK // 2) == [36 * TURN]


def test_who_leaves_the_queue_keeps_nobody_waiting() -> None:
    async def leave() -> list[float]:
        clock, is_asleep = Clock(), asyncio.Event()

        async def sleep(seconds: float) -> None:
            clock.slept.append(seconds)
            is_asleep.set()
            if len(clock.slept) == 1:
                await asyncio.Event().wait()
            clock.seconds += seconds

        pace = Pace(clock.time, sleep)
        await pace.turn(QUICK)
        waiting = asyncio.create_task(pace.turn(QUICK))
        await is_asleep.wait()
        behind = asyncio.create_task(pace.turn(QUICK))
        waiting.cancel()
        await behind
        return clock.slept

    assert asyncio.run(leave()) == [TURN, TURN]


def test_those_that_are_refused_let_others_go_before_them() -> None:
    async def call() -> list[str]:
        clock, order = Clock(), list[str]()

        async def sleep(seconds: float) -> None:
            await asyncio.sleep(0)  # others come meanwhile
            clock.seconds += seconds

        pace = Pace(clock.time, sleep)

        async def take(name: str, *, is_refused: bool) -> None:
            await pace.turn(6 * QUICK, is_refused=is_refused)
            order.append(name)

        names = ("refused 1", "refused 2", "refused 3", "accepted 1", "accepted 2")
        calls = (take(each, is_refused=each.startswith("refused")) for each in names)
        await asyncio.gather(*calls)
        return order

    expected = ["refused 1", "refused 2", "accepted 1", "accepted 2", "refused 3"]
    assert asyncio.run(call()) == expected


def test_time_that_has_gone_is_not_waited_for() -> None:
    assert waits(QUICK, QUICK, QUICK, pause_seconds=2 * TURN) == []


def test_a_small_message_never_waits() -> None:
    assert waits(8 * QUICK, *[limits.SMALL_BYTES] * 3) == []
