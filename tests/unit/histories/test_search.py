"""The search finds an order of a kata's calls if there is one, as one does who tries all."""

from random import Random

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from support.histories.attempts import Attempt, Kind
from support.histories.rules import model, search
from support.histories.simulated import exhaustive, mutations
from support.histories.simulated.clients import Habits, play
from support.histories.simulated.mutations import Mutation
from support.histories.simulated.script import KATA, Script

HABITS = Habits(
    clients=2,
    names=("bat", "bee"),
    started=1,
    calls=(*[Kind.RECORD_TEST] * 4, Kind.START_AVATAR, Kind.READ, *[Kind.DELETE_KATA] * 2),
)


@settings(max_examples=200)
@given(
    st.randoms(use_true_random=False),
    st.integers(1, 8),
    st.none() | st.sampled_from(mutations.ALL),
)
def test_the_search_agrees_with_trying_all_orders(
    random: Random, count: int, mutation: Mutation | None
) -> None:
    history = play(random, count, HABITS)
    if mutation is not None:
        history = mutation(random, history) or history
    attempts: list[Attempt] = []
    for each in [*history.attempts, *history.final]:
        attempts += model.parts(each, HABITS.names)
    try:
        is_possible = exhaustive.is_possible(history.attempts, history.final, stale_reads=False)
    except exhaustive.TooManyOrders:
        reject()
    assert search.is_possible("Kfirst", attempts) == is_possible


def test_the_search_gives_up_after_some_steps() -> None:
    script = Script()
    script.create()
    for number in range(10):
        script.start(f"{number}", at=(10, 100))
    script.read("whale", 0)
    with pytest.raises(search.GaveUp):
        search.is_possible(KATA, script.attempts, 100)
