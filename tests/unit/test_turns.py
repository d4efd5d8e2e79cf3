"""Threads take turns: one at a time, but for those that wait for somebody else."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from dojo.turns import Turns
from support.services import wait_until

SECONDS = 10.0


def in_thread(work: Callable[[], object]) -> threading.Thread:
    """Do work in another thread, which has begun when this returns."""
    has_begun = threading.Event()

    def begin() -> None:
        has_begun.set()
        work()

    thread = threading.Thread(target=begin, daemon=True)
    thread.start()
    assert has_begun.wait(SECONDS)
    return thread


def take(turns: Turns, then: Callable[[], object] = lambda: None) -> None:
    """Have a turn."""
    with turns:
        then()


def is_free(turns: Turns) -> bool:
    """Say whether another thread gets a turn, although this one does nothing more."""
    thread = in_thread(lambda: take(turns))
    thread.join(SECONDS)
    return not thread.is_alive()


def test_one_thread_at_a_time_has_its_turn() -> None:
    turns, in_block, most = Turns(), 0, 0

    def work(_: int) -> None:
        nonlocal in_block, most
        with turns:
            in_block += 1
            most = max(most, in_block)
            threading.Event().wait(0.001)  # Python's lock is free: others could come in
            in_block -= 1

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(64)))
    assert (in_block, most) == (0, 1)


def test_another_has_its_turn_while_this_one_is_given_up() -> None:
    turns, order = Turns(), list[str]()
    with turns:
        with turns.given_up():
            assert is_free(turns)
        other = in_thread(lambda: take(turns, lambda: order.append("other")))
        threading.Event().wait(0.05)  # the other one could come in
        order.append("this")
    other.join(SECONDS)
    assert order == ["this", "other"]


def test_who_gives_a_turn_back_does_not_get_the_next_before_those_who_wait() -> None:
    turns, order = Turns(), list[str]()
    turns.__enter__()
    others = []
    for name in ("first", "second"):
        others.append(in_thread(partial(take, turns, partial(order.append, name))))
        wait_until(lambda: len(turns._waiting) == len(others))
    turns.__exit__()
    take(turns, lambda: order.append("again"))
    for other in others:
        other.join(SECONDS)
    assert order == ["first", "second", "again"]
    assert is_free(turns)


def test_who_has_no_turn_gives_none_up() -> None:
    turns, order = Turns(), list[str]()
    is_in, is_over = threading.Event(), threading.Event()

    def hold() -> None:
        is_in.set()
        is_over.wait(SECONDS)
        order.append("holder")

    holder = in_thread(lambda: take(turns, hold))
    assert is_in.wait(SECONDS)
    with turns.given_up():
        other = in_thread(lambda: take(turns, lambda: order.append("other")))
        is_over.set()
        other.join(SECONDS)
    holder.join(SECONDS)
    assert order == ["holder", "other"]
    assert is_free(turns)


def test_an_error_ends_a_turn_also_where_it_was_given_up() -> None:
    turns = Turns()
    with pytest.raises(KeyError), turns, turns.given_up():
        raise KeyError
    assert is_free(turns)
