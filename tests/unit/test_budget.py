"""A budget lets a call take what it may, and not one byte, entry or level more."""

import contextvars
import time
from collections.abc import Callable
from typing import Any

import pytest

from dojo import waits
from dojo.budget import Budget, BudgetExceeded
from dojo.waits import CallEnded, CallWork


def test_all_bytes_can_be_taken_and_none_besides() -> None:
    budget = Budget(max_bytes=10)
    budget.take_bytes(4)
    budget.take_bytes(6)
    budget.take_bytes(0)
    with pytest.raises(BudgetExceeded, match="more than 10 bytes"):
        budget.take_bytes(1)


def test_bytes_that_are_refused_are_not_taken() -> None:
    budget = Budget(max_bytes=10)
    with pytest.raises(BudgetExceeded):
        budget.take_bytes(2**60)
    budget.take_bytes(10)


def test_nobody_takes_fewer_bytes_than_none() -> None:
    with pytest.raises(ValueError, match="negative"):
        Budget(max_bytes=10).take_bytes(-1)


def test_entries_are_counted() -> None:
    budget = Budget(max_entries=300)
    for _ in range(300):
        budget.take_entry()
    with pytest.raises(BudgetExceeded, match="more than 300 entries"):
        budget.take_entry()


def test_the_way_back_up_gives_the_depth_back() -> None:
    budget = Budget(max_depth=2)
    for _ in range(3):
        with budget.one_deeper(), budget.one_deeper():
            deeper = budget.one_deeper()
            with pytest.raises(BudgetExceeded, match="more than 2 levels"):
                deeper.__enter__()


@pytest.mark.parametrize("draw", [lambda budget: budget.take_bytes(1), Budget.take_entry])
def test_the_time_is_checked_whatever_is_taken(
    monkeypatch: pytest.MonkeyPatch, draw: Callable[[Budget], None]
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    budget = Budget(max_seconds=2.5)
    draw(budget)
    now[0] = 103.0
    with pytest.raises(BudgetExceeded, match=r"longer than 2\.5 seconds"):
        draw(budget)


@pytest.mark.parametrize("draw", [lambda budget: budget.take_bytes(1), Budget.take_entry])
def test_a_call_that_has_ended_takes_nothing_more(draw: Callable[[Budget], None]) -> None:
    def work() -> None:
        call = CallWork(lambda: True)
        waits.work_for(call)
        budget = Budget()
        draw(budget)
        call.end()
        with pytest.raises(CallEnded):
            draw(budget)

    contextvars.copy_context().run(work)


@pytest.mark.parametrize(
    "take", [lambda budget: budget.take_bytes(1), lambda budget: budget.check_time()]
)
def test_the_work_of_a_call_that_has_ended_takes_no_more(take: Callable[[Budget], None]) -> None:
    budget = Budget(max_bytes=10)

    def work() -> None:
        call = CallWork(lambda: True)
        waits.work_for(call)
        take(budget)
        call.end()
        with pytest.raises(CallEnded):
            take(budget)

    contextvars.copy_context().run(work)


def test_without_limits_everything_goes() -> None:
    budget = Budget()
    budget.take_bytes(2**60)
    for _ in range(1000):
        budget.take_entry()
        with budget.one_deeper():
            budget.check_time()


def test_a_share_has_what_is_left_and_is_taken_at_once() -> None:
    budget = Budget(max_bytes=10, max_entries=3)
    budget.take_bytes(4)
    budget.take_entry()
    share = budget.share()
    share.take_bytes(6)
    share.take_entry()
    with pytest.raises(BudgetExceeded, match="more than 6 bytes"):
        share.take_bytes(1)
    share.take_entry()
    with pytest.raises(BudgetExceeded, match="more than 2 entries"):
        share.take_entry()
    budget.take_all_of(share)
    with pytest.raises(BudgetExceeded):
        budget.take_bytes(1)
    with pytest.raises(BudgetExceeded):
        budget.take_entry()


@pytest.mark.parametrize("taken", [{"max_bytes": 5}, {"max_entries": 1}])
def test_more_than_is_left_can_not_be_taken_of_a_part(taken: dict[str, Any]) -> None:
    budget, part = Budget(**taken), Budget()
    part.take_bytes(6)
    part.take_entry()
    part.take_entry()
    with pytest.raises(BudgetExceeded):
        budget.take_all_of(part)
