"""The shares of memory that calls take: no more than there is, and all of it comes back."""

import contextvars
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest

from dojo import limits, shares
from dojo.errors import MemoryExhausted
from dojo.shares import Holding, Memory, Share
from dojo.waits import CallWork

LIMIT = 2 * 1024**3


def test_a_call_that_would_take_more_than_is_left_is_refused() -> None:
    share = Share(100, "others")
    with share.taken(99), share.taken(1), pytest.raises(MemoryExhausted, match="others"):
        share.take(1)
    with share.taken(100):
        pass


def test_threads_take_and_give_back_the_same() -> None:
    share = Share(1000, "others")

    def take_often(_: int) -> None:
        for _ in range(2000):
            with share.taken(1):
                pass

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(take_often, range(8)))
    with share.taken(1000), pytest.raises(MemoryExhausted):
        share.take(1)


def test_slow_restores_and_downloads_leave_other_calls_their_memory() -> None:
    memory = Memory(LIMIT)
    with ExitStack() as stack:
        for share, size in (
            (memory.restores, limits.RESTORE_BYTES),
            (memory.downloads, limits.DOWNLOAD_BYTES),
        ):
            with suppress(MemoryExhausted):
                for _ in range(1000):
                    stack.enter_context(share.taken(size))
            with pytest.raises(MemoryExhausted):
                share.take(size)
        with memory.calls.taken(LIMIT * limits.CALLS_MEMORY_PERCENT // 100):
            pass


def test_a_small_container_has_room_for_one_restore_and_one_download() -> None:
    memory = Memory(limits.MESSAGE_BYTES)
    with memory.restores.taken(limits.RESTORE_BYTES):
        pass
    with memory.downloads.taken(limits.DOWNLOAD_BYTES):
        pass


def test_all_shares_together_leave_a_quarter_of_the_memory_free() -> None:
    percents = [value for name, value in vars(limits).items() if name.endswith("_MEMORY_PERCENT")]
    assert len(percents) == 4
    assert sum(percents) <= 75


def test_what_work_holds_comes_back_at_its_end() -> None:
    memory = Memory(LIMIT)
    share = LIMIT * limits.CALLS_MEMORY_PERCENT // 100

    def work() -> None:
        shares.use(memory)
        with Holding() as holding:
            holding.add(share)
            holding.add(-10)
            holding.add(10)
            with pytest.raises(MemoryExhausted):
                holding.add(1)
        with memory.calls.taken(share):
            pass

    contextvars.copy_context().run(work)


def test_work_for_no_call_takes_nothing() -> None:
    with Holding() as holding:
        holding.add(2**60)


def test_a_restore_that_waits_for_its_kata_holds_nothing() -> None:
    memory = Memory(limits.MESSAGE_BYTES)  # of one restore

    def restore() -> None:
        restoring = shares.Restore(memory)
        with pytest.raises(MemoryExhausted):
            shares.Restore(memory)
        CallWork(lambda: True).give_up_place()
        with memory.restores.taken(limits.RESTORE_BYTES), pytest.raises(MemoryExhausted):
            restoring.hold()
        for _ in range(2):
            restoring.hold()
        for _ in range(2):
            restoring.give_back()
        with memory.restores.taken(limits.RESTORE_BYTES):
            pass

    contextvars.copy_context().run(restore)
