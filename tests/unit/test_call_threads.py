"""Calls that wait for somebody else hold up no others."""

import asyncio
import os
import threading
from fcntl import LOCK_EX, flock
from pathlib import Path

import pytest

from dojo import limits, locks, waits
from dojo.errors import LockHeld
from dojo.service.call_threads import CallThreads
from dojo.waits import CallEnded

PLACES = 4
CALLERS = 64

_TOO_LONG = r"^kata 493A06504A can't be used yet: .* more than 0.05 s; call again in 5 s"


def use(path: Path) -> str:
    """Work with the lock of a folder, shared."""
    with locks.locked(path, shared=True):
        return path.name


@pytest.fixture
def busy(tmp_path: Path) -> Path:
    folder = tmp_path / "cyber-dojo-kata-493A06504A" / "_data"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("how", ["run", "run_long"])
def test_calls_that_wait_for_a_lock_hold_up_no_others(busy: Path, tmp_path: Path, how: str) -> None:
    async def main() -> None:
        threads = CallThreads(PLACES, "test")
        with locks.locked(busy):
            waiting = [
                asyncio.create_task(getattr(threads, how)(use, busy)) for _ in range(CALLERS)
            ]
            assert await threads.run(use, tmp_path) == tmp_path.name
            assert await threads.run_long(use, tmp_path) == tmp_path.name
            assert not any(each.done() for each in waiting)
        assert await asyncio.gather(*waiting) == ["_data"] * CALLERS

    asyncio.run(main())


def test_a_lock_that_is_held_for_too_long_is_refused_by_its_kata(
    busy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits.CallWork.__init__, "__defaults__", (0.05,))

    async def main() -> None:
        with (
            locks.locked(busy),
            pytest.raises(LockHeld, match=_TOO_LONG),
        ):
            await CallThreads(PLACES, "test").run(use, busy)

    asyncio.run(main())


def test_more_calls_than_may_wait_for_one_lock_are_refused(
    busy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_WAITING_FOR_ONE_LOCK", 3)

    async def main() -> None:
        threads = CallThreads(PLACES, "test")
        with locks.locked(busy):
            calls = [asyncio.create_task(threads.run(use, busy)) for _ in range(4)]
            done, waiting = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        with pytest.raises(LockHeld, match="3 calls wait for it"):
            done.pop().result()
        assert await asyncio.gather(*waiting) == ["_data"] * 3

    asyncio.run(main())


def test_more_calls_than_may_wait_in_all_are_refused(
    busy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_WAITING_CALLS", 3)

    async def main() -> None:
        threads = CallThreads(PLACES, "test")
        with locks.locked(busy):
            calls = [asyncio.create_task(threads.run(use, busy)) for _ in range(4)]
            done, waiting = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        with pytest.raises(LockHeld, match="3 calls wait for katas already"):
            done.pop().result()
        await asyncio.gather(*waiting)
        assert await threads.run(use, busy) == "_data"

    asyncio.run(main())


def test_a_call_that_is_cancelled_stops_waiting(busy: Path) -> None:
    started, ended = threading.Event(), threading.Event()

    def wait() -> None:
        started.set()
        try:
            use(busy)
        except CallEnded:
            ended.set()
            raise

    async def main() -> None:
        threads = CallThreads(1, "test")
        with locks.locked(busy):
            waiting = asyncio.create_task(threads.run(wait))
            assert await asyncio.to_thread(started.wait, 60)
            await threads.run(lambda: None)  # has the only place, which the other gave up
            waiting.cancel()
            assert await asyncio.to_thread(ended.wait, 60)
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())


def test_work_of_a_call_that_is_cancelled_stops_at_its_next_check() -> None:
    working, ended = threading.Event(), threading.Event()

    def work() -> None:
        working.set()
        try:
            while True:
                waits.check()
        except CallEnded:
            ended.set()
            raise

    async def main() -> None:
        threads = CallThreads(1, "test")
        task = asyncio.create_task(threads.run(work))
        assert await asyncio.to_thread(working.wait, 60)
        task.cancel()
        assert await asyncio.to_thread(ended.wait, 60)
        assert await threads.run(lambda: "free") == "free"

    asyncio.run(main())


def test_writers_of_one_lock_take_turns(busy: Path) -> None:
    written: list[int] = []

    def write(number: int) -> None:
        with locks.locked(busy):
            assert -1 not in written
            written.append(-1)
            written[written.index(-1)] = number

    async def main() -> None:
        threads = CallThreads(PLACES, "test")
        await asyncio.gather(*(threads.run(write, number) for number in range(CALLERS)))

    asyncio.run(main())
    assert sorted(written) == list(range(CALLERS))
    assert not locks._queues


def test_a_lock_of_another_process_is_noticed(busy: Path) -> None:
    """Nobody in this process tells that the lock is free: the first in the queue finds out."""

    async def main() -> None:
        threads = CallThreads(PLACES, "test")
        descriptor = os.open(busy, os.O_RDONLY)
        flock(descriptor, LOCK_EX)
        waiting = [asyncio.create_task(threads.run(use, busy)) for _ in range(CALLERS)]
        await threads.run(lambda: None)
        os.close(descriptor)
        assert await asyncio.gather(*waiting) == ["_data"] * CALLERS

    asyncio.run(main())
