"""The memory that all calls have together."""

import asyncio

import pytest

from dojo import limits
from dojo.errors import MemoryExhausted
from dojo.service.memory import Memory

LIMIT = 2 * 1024**3
SHARE = LIMIT * limits.CALLS_MEMORY_PERCENT // 100


def test_a_call_that_would_take_more_than_is_left_is_refused() -> None:
    memory = Memory(LIMIT)
    with memory.taken(SHARE - 1), memory.taken(1), pytest.raises(MemoryExhausted):
        memory.taken(1).__enter__()
    with memory.taken(SHARE):
        pass


async def fast() -> str:
    """Receive a message that is there."""
    return "fast"


def test_slow_requests_hold_up_others_for_a_short_time_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "FAST_RECEIVE_SECONDS", 0.01)

    async def main() -> None:
        memory = Memory(limits.MESSAGE_BYTES)  # one message at a time, and one slow one
        begun, arrived = asyncio.Event(), asyncio.Event()

        async def slow() -> str:
            begun.set()
            await arrived.wait()
            return "slow"

        receiving = asyncio.create_task(memory.receive(slow))
        await begun.wait()
        assert await memory.receive(fast) == "fast"
        with pytest.raises(MemoryExhausted, match="takes too long to arrive"):
            await memory.receive(asyncio.Event().wait)
        assert await memory.receive(fast) == "fast"
        arrived.set()
        assert await receiving == "slow"

    asyncio.run(main())


def test_a_request_that_does_not_arrive_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FAST_RECEIVE_SECONDS", 0.01)
    monkeypatch.setattr(limits, "RECEIVE_SECONDS", 0.01)

    async def main() -> None:
        memory = Memory(limits.MESSAGE_BYTES)
        for _ in range(3):
            with pytest.raises(MemoryExhausted):
                await memory.receive(asyncio.Event().wait)

    asyncio.run(main())
