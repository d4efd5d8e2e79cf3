"""The judge finds of random histories what one finds who tries all orders of their calls."""

from random import Random

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from support.histories.attempts import Kind
from support.histories.checker import judge
from support.histories.simulated import exhaustive, mutations
from support.histories.simulated.clients import Habits, History, play
from support.histories.simulated.mutations import Mutation

RANDOM = st.randoms(use_true_random=False)

HABITS = st.builds(
    Habits,
    clients=st.integers(1, 5),
    katas=st.integers(1, 3),
    started=st.integers(0, 2),
    lost=st.sampled_from((0.0, 0.1, 0.4)),
    again=st.sampled_from((0.1, 0.4)),
    lingering=st.sampled_from((0.05, 0.3)),
    stale_reads=st.booleans(),
)

# Few enough calls at the same time to try all orders.
FEW = st.builds(
    Habits,
    clients=st.integers(1, 2),
    katas=st.integers(1, 2),
    names=st.sampled_from((("bat",), ("bat", "bee"))),
    started=st.integers(0, 1),
    stale_reads=st.booleans(),
)


def can_be(history: History, *, stale_reads: bool = False) -> bool:
    """Say whether a history is right; a few that have too many orders are not tested."""
    try:
        return exhaustive.is_possible(history.attempts, history.final, stale_reads=stale_reads)
    except exhaustive.TooManyOrders:
        reject()


def check_as_exhaustive(history: History, *, stale_reads: bool) -> bool:
    """Check that the judge is right about a history; say whether that is right."""
    verdict = judge(history.attempts, history.final, stale_reads=stale_reads)
    assert not verdict.undecided
    is_right = can_be(history, stale_reads=stale_reads)
    assert verdict.is_right == is_right, str(verdict)
    return is_right


@given(RANDOM, st.integers(1, 60), HABITS)
def test_what_a_single_storer_answers_is_right(random: Random, count: int, habits: Habits) -> None:
    history = play(random, count, habits)
    verdict = judge(history.attempts, history.final, stale_reads=habits.stale_reads)
    assert verdict.is_right, str(verdict)


@given(RANDOM, st.integers(1, 8), FEW)
def test_all_orders_of_right_histories_include_the_right_one(
    random: Random, count: int, habits: Habits
) -> None:
    history = play(random, count, habits)
    assert check_as_exhaustive(history, stale_reads=habits.stale_reads)


@settings(max_examples=300)
@given(RANDOM, st.integers(1, 8), FEW, st.sampled_from(mutations.ALL), st.integers(1, 2))
def test_a_changed_history_is_right_if_an_order_of_its_calls_is(
    random: Random, count: int, habits: Habits, mutation: Mutation, times: int
) -> None:
    history = play(random, count, habits)
    for _ in range(times):
        history = mutation(random, history) or history
    check_as_exhaustive(history, stale_reads=habits.stale_reads)


@pytest.mark.parametrize("mutation", mutations.ALL, ids=lambda each: each.__name__)
def test_each_change_makes_histories_wrong_and_these_are_found(mutation: Mutation) -> None:
    """Only an answer less can't make a history wrong."""
    habits = Habits(clients=2, katas=2, names=("bat", "bee"), started=1)
    found = set()
    for seed in range(80):
        random = Random(seed)  # noqa: S311 - has to be the same each time
        changed = mutation(random, play(random, 8, habits))
        if changed is not None:
            found.add(check_as_exhaustive(changed, stale_reads=False))
    assert (False in found) == (mutation is not mutations.lose_an_answer)


@pytest.mark.parametrize(
    "mutation",
    [mutations.lose_a_light, mutations.double_a_light, mutations.lose_an_avatar],
    ids=lambda each: each.__name__,
)
def test_without_lost_answers_a_light_more_or_less_is_always_found(mutation: Mutation) -> None:
    """What was acknowledged can only be as it was."""
    calls = (*[Kind.START_AVATAR] * 2, *[Kind.RECORD_TEST] * 8, *[Kind.READ] * 3)
    habits = Habits(calls=calls, started=1, lost=0)
    changes = 0
    for seed in range(100):
        random = Random(seed)  # noqa: S311 - has to be the same each time
        changed = mutation(random, play(random, 30, habits))
        if changed is not None:
            assert not judge(changed.attempts, changed.final).is_right
            changes += 1
    assert changes > 50


def test_a_long_history_of_many_avatars_is_right_and_each_lost_light_is_found() -> None:
    names = ("bat", "bear", "bee", "crab", "deer", "eagle", "fox", "frog", "owl", "whale")
    calls = (*[Kind.RECORD_TEST] * 20, *[Kind.READ] * 2)
    habits = Habits(clients=10, calls=calls, names=names, started=10, lost=0.05)
    random = Random(1)  # noqa: S311 - as above
    history = play(random, 5_000, habits)
    assert judge(history.attempts, history.final).is_right
    for _ in range(3):
        changed = mutations.lose_a_light(random, history)
        assert changed is not None
        assert judge(changed.attempts, changed.final).findings
