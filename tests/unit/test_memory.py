"""The memory that all calls have together."""

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
