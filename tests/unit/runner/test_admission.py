"""Admission of runs: one at a time for an avatar, a limited number in total, in order."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from dojo import avatars, limits
from dojo.errors import RunsExhausted, Stopping
from runner.api import admission
from runner.api.admission import Admission

ID = "7C4E19D2B6"


class Runs:
    """Runs that last until `end` is called, and the order in which they began."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.begun: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self, name: str, avatar: str) -> None:
        """Start a run, and let it proceed as far as it can."""
        self._ends[name] = asyncio.Event()
        self._tasks[name] = asyncio.create_task(self._run(name, avatar))
        await run_all_tasks()

    async def _run(self, name: str, avatar: str) -> None:
        async with self.admission.turn(ID, avatar), self.admission.slot():
            self.begun.append(name)
            await self._ends[name].wait()

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await self._tasks[name]
        await run_all_tasks()

    async def cancel(self, name: str) -> None:
        self._tasks[name].cancel()
        with pytest.raises(asyncio.CancelledError):
            await self._tasks[name]
        await run_all_tasks()

    async def error(self, name: str) -> BaseException | None:
        await asyncio.wait([self._tasks[name]], timeout=10)
        return self._tasks[name].exception()


async def run_all_tasks() -> None:
    """Let all tasks proceed as far as they can."""
    for _ in range(20):
        await asyncio.sleep(0)


def admitted(test: Callable[[Runs], Awaitable[None]], running: int = 2, waiting: int = 8) -> None:
    async def main() -> None:
        await test(Runs(Admission(running, waiting)))

    asyncio.run(main())


def test_runs_of_one_avatar_take_turns_in_order() -> None:
    async def test(runs: Runs) -> None:
        for name in ("first", "second", "third"):
            await runs.start(name, "whale")
        assert runs.begun == ["first"]
        await runs.end("first")
        await runs.end("second")
        assert runs.begun == ["first", "second", "third"]
        await runs.end("third")

    admitted(test)


def test_slots_are_limited_and_a_run_that_waits_for_its_turn_takes_none() -> None:
    async def test(runs: Runs) -> None:
        for name, avatar in (("a", "ant"), ("b", "ant"), ("c", "bee"), ("d", "cat"), ("e", "dog")):
            await runs.start(name, avatar)
        assert runs.begun == ["a", "c"]
        await runs.end("c")
        assert runs.begun == ["a", "c", "d"]
        await runs.end("a")
        assert runs.begun == ["a", "c", "d", "e"]
        for name in ("d", "e", "b"):
            await runs.end(name)

    admitted(test)


def test_nobody_waits_for_somebody_who_presses_again() -> None:
    async def test(runs: Runs) -> None:
        for name, avatar in (
            ("whale 1", "whale"), ("whale 2", "whale"), ("whale 3", "whale"),
            ("bear 1", "bear"), ("crab 1", "crab"), ("bear 2", "bear"),
        ):  # fmt: skip
            await runs.start(name, avatar)
        order = ["whale 1", "bear 1", "crab 1", "whale 2", "bear 2", "whale 3"]
        for number, name in enumerate(order):
            assert runs.begun == order[: number + 1]
            await runs.end(name)

    admitted(test, running=1)


@pytest.mark.parametrize("running", [1, 2, 4])
def test_a_burst_of_all_avatars_is_served_in_the_order_of_the_presses(running: int) -> None:
    order = random.Random(running).sample(avatars.NAMES, len(avatars.NAMES))  # noqa: S311 - an order

    async def test(runs: Runs) -> None:
        for avatar in order:
            await runs.start(avatar, avatar)
        for number, avatar in enumerate(order):
            assert runs.begun == order[: number + running]
            await runs.end(avatar)

    admitted(test, running=running, waiting=64)


@pytest.mark.parametrize("seed", range(20))
def test_one_who_presses_again_and_again_is_before_each_of_the_others_once_at_most(
    seed: int,
) -> None:
    chance = random.Random(seed)  # noqa: S311 - an order
    whales = [(f"whale {number}", "whale") for number in range(16)]
    presses = [(avatar, avatar) for avatar in avatars.NAMES if avatar != "whale"] + whales
    chance.shuffle(presses)
    # How many of the whale's runs had begun when somebody pressed.
    begun_before: dict[str, int] = {}

    async def test(runs: Runs) -> None:
        ended: set[str] = set()

        def whales_begun(until: str | None = None) -> int:
            begun = runs.begun if until is None else runs.begun[: runs.begun.index(until)]
            return sum(name.startswith("whale") for name in begun)

        while presses or len(ended) < len(begun_before):
            going = [name for name in runs.begun if name not in ended]
            if presses and (not going or chance.random() < 0.7):
                name, avatar = presses.pop()
                begun_before[name] = whales_begun()
                await runs.start(name, avatar)
            else:
                name = chance.choice(going)
                ended.add(name)
                await runs.end(name)
        for name, begun in begun_before.items():
            if not name.startswith("whale"):
                assert whales_begun(until=name) - begun <= 1

    admitted(test, running=chance.choice([1, 2, 4]), waiting=128)


def test_one_avatar_in_two_katas_has_two_turns() -> None:
    async def main() -> None:
        admitting = Admission(2, 0)
        async with admitting.turn(ID, "whale"), admitting.turn("60B2C95E04", "whale"):
            pass

    asyncio.run(main())


def test_too_many_waiting_runs_are_refused_with_a_time_to_retry() -> None:
    async def test(runs: Runs) -> None:
        for name, avatar in (("a", "ant"), ("b", "bee"), ("c", "cat"), ("d", "dog")):
            await runs.start(name, avatar)
        error = await runs.error("d")
        assert isinstance(error, RunsExhausted)
        assert error.retry_seconds >= 1
        for name in ("a", "b", "c"):
            await runs.end(name)
        assert runs.begun == ["a", "b", "c"]
        # The refused run holds neither its turn nor a slot.
        await runs.start("e", "dog")
        assert runs.begun[-1] == "e"
        await runs.end("e")

    admitted(test, running=1, waiting=2)


def test_each_refused_caller_is_told_to_come_later_than_the_one_before() -> None:
    async def test(runs: Runs) -> None:
        for name, avatar in (("a", "ant"), ("b", "bee"), ("c", "cat")):
            await runs.start(name, avatar)
        told = []
        for number, avatar in enumerate(avatars.NAMES[20:50]):
            await runs.start(f"refused {number}", avatar)
            error = await runs.error(f"refused {number}")
            assert isinstance(error, RunsExhausted)
            assert error.facts == {"limit": "2"}
            told.append(error.retry_seconds)
        assert told == sorted(told)
        assert told[-1] > 2 * told[0]
        assert told[-1] <= admission.MAX_RETRY_SECONDS
        for name in ("a", "b", "c"):
            await runs.end(name)

    admitted(test, running=1, waiting=2)


def test_a_run_that_is_cancelled_while_it_waits_leaves_its_place_to_others() -> None:
    async def test(runs: Runs) -> None:
        await runs.start("a", "ant")
        await runs.start("b", "ant")  # waits for its turn
        await runs.start("c", "cat")  # waits for a slot
        await runs.cancel("b")
        await runs.cancel("c")
        await runs.start("d", "dog")
        await runs.start("e", "dog")
        await runs.cancel("a")
        await runs.end("d")
        await runs.end("e")
        assert runs.begun == ["a", "d", "e"]

    admitted(test, running=1, waiting=2)


def test_while_waiting_is_entered_only_while_a_run_waits() -> None:
    held: list[str] = []

    @contextmanager
    def while_waiting() -> Iterator[None]:
        held.append("begin")
        yield
        held.append("end")

    async def main() -> None:
        runs = Runs(Admission(1, 8, while_waiting))
        await runs.start("a", "ant")
        assert held == []
        await runs.start("b", "bee")
        assert held == ["begin"]
        await runs.end("a")
        assert held == ["begin", "end"]
        await runs.end("b")

    asyncio.run(main())


def test_one_avatar_or_one_kata_does_not_fill_the_queue() -> None:
    async def main() -> None:
        admitting = Admission(2, 8)
        with ExitStack() as stack:
            for _ in range(limits.MAX_RUNS_OF_AVATAR):
                stack.enter_context(admitting.held(ID, "whale", 1))
            refusal = refused(admitting, ID, "whale", 1)
            assert f"{limits.MAX_RUNS_OF_AVATAR} runs of whale" in str(refusal)
            for number in range(limits.MAX_RUNS_OF_KATA - limits.MAX_RUNS_OF_AVATAR):
                avatar = avatars.NAMES[number % 50]
                stack.enter_context(admitting.held(ID, avatar, 1))
            refusal = refused(admitting, ID, "zebra", 1)
            assert f"{limits.MAX_RUNS_OF_KATA} runs of kata {ID}" in str(refusal)
            with admitting.held("60B2C95E04", "whale", 1):
                pass
        with admitting.held(ID, "whale", 1):
            pass

    asyncio.run(main())


def test_the_requests_of_all_runs_are_bounded_in_bytes() -> None:
    async def main() -> None:
        admitting = Admission(2, 8)
        half = limits.MAX_BYTES_OF_RUNS // 2
        with admitting.held(ID, "whale", half):
            with admitting.held(ID, "zebra", half):
                assert refused(admitting, "60B2C95E04", "whale", 1).retry_seconds >= 1
            with admitting.held("60B2C95E04", "whale", 1):
                pass

    asyncio.run(main())


def refused(admitting: Admission, kata_id: str, avatar: str, size_bytes: int) -> RunsExhausted:
    """Return how a run is refused, which then does not count."""
    with pytest.raises(RunsExhausted) as caught, admitting.held(kata_id, avatar, size_bytes):
        pass
    return caught.value


def test_when_the_runner_stops_what_waits_is_refused_and_what_goes_on_ends() -> None:
    async def test(runs: Runs) -> None:
        await runs.start("one", "whale")
        await runs.start("its turn", "whale")
        await runs.start("two", "zebra")
        await runs.start("a slot", "lion")
        runs.admission.stop()
        await runs.start("late", "bat")
        for name in ("its turn", "a slot", "late"):
            assert isinstance(await runs.error(name), Stopping)
        for name in ("one", "two"):
            await runs.end(name)
        assert runs.begun == ["one", "two"]

    admitted(test)


def test_a_run_that_waits_is_told_how_many_are_ahead_whenever_that_changes() -> None:
    async def main() -> None:
        admitting = Admission(1, 8)
        told: dict[str, list[int]] = {name: [] for name in "abcd"}
        going = {name: asyncio.Event() for name in "abcd"}

        async def run(name: str) -> None:
            avatar, tell = avatars.NAMES["abcd".index(name)], told[name].append
            async with admitting.turn(ID, avatar, tell), admitting.slot(tell):
                await going[name].wait()

        tasks = {}
        for name in "abcd":
            tasks[name] = asyncio.create_task(run(name))
            await run_all_tasks()
        assert told == {"a": [], "b": [0], "c": [1], "d": [2]}
        tasks["c"].cancel()
        await run_all_tasks()
        assert told["d"] == [2, 1]
        for name in "abd":
            going[name].set()
            await tasks[name]
            await run_all_tasks()
        assert told == {"a": [], "b": [0], "c": [1], "d": [2, 1, 0]}

    asyncio.run(main())


def test_a_run_that_comes_when_the_avatars_last_is_answered_is_not_told_that_it_waits() -> None:
    async def main() -> None:
        admitting = Admission(1, 8)
        told: dict[str, list[int]] = {"next": [], "the one behind": []}
        given_back = asyncio.Event()

        async def answer() -> None:
            async with admitting.turn(ID, "whale") as answered:
                answered()
                await given_back.wait()

        async def run(name: str) -> None:
            async with admitting.turn(ID, "whale", told[name].append):
                pass

        tasks = [asyncio.create_task(answer())]
        await run_all_tasks()
        for name in told:
            tasks.append(asyncio.create_task(run(name)))
            await run_all_tasks()
        assert admitting.count_waiting() == 2
        assert told == {"next": [], "the one behind": [1]}
        given_back.set()
        await asyncio.gather(*tasks)
        assert told == {"next": [], "the one behind": [1, 0]}

    asyncio.run(main())


def test_runs_that_go_on_and_runs_that_wait_are_counted() -> None:
    async def test(runs: Runs) -> None:
        admission = runs.admission
        await runs.start("first", "bear")
        await runs.start("second", "bear")
        await runs.start("third", "bee")
        await runs.start("fourth", "cheetah")
        assert (admission.count_running(), admission.count_waiting()) == (2, 2)
        for name in ("first", "third", "fourth", "second"):
            await runs.end(name)
        assert (admission.count_running(), admission.count_waiting()) == (0, 0)

    admitted(test)
