"""A budget lets a call take what it may, and not one byte, entry or level more."""

import time
from itertools import count

import pytest

from dojo.budget import Budget, BudgetExceeded


def test_all_bytes_can_be_taken_and_none_besides() -> None:
    budget = Budget(max_bytes=10)
    budget.take_bytes(4)
    budget.take_bytes(6)
    budget.take_bytes(0)
    assert budget.bytes_left == 0
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


def test_the_time_is_checked_while_entries_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    budget = Budget(max_seconds=2.5)
    budget.check_time()
    now[0] = 103.0
    taken = count()

    def take_all() -> None:
        while next(taken) < 1000:
            budget.take_entry()

    with pytest.raises(BudgetExceeded, match=r"longer than 2\.5 seconds"):
        take_all()
    assert next(taken) < 300


def test_without_limits_everything_goes() -> None:
    budget = Budget()
    budget.take_bytes(2**60)
    for _ in range(1000):
        budget.take_entry()
        with budget.one_deeper():
            budget.check_time()
    assert budget.bytes_left is None


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
    assert budget.bytes_left == 6
    budget.take_all_of(share)
    assert budget.bytes_left == 0
    with pytest.raises(BudgetExceeded):
        budget.take_entry()


@pytest.mark.parametrize("taken", [{"max_bytes": 5}, {"max_entries": 1}])
def test_more_than_is_left_can_not_be_taken_of_a_part(taken: dict[str, int]) -> None:
    budget, part = Budget(**taken), Budget()
    part.take_bytes(6)
    part.take_entry()
    part.take_entry()
    with pytest.raises(BudgetExceeded):
        budget.take_all_of(part)
