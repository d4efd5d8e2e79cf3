"""As many things as possible get a maker, and each maker one thing at most."""

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from support.histories.rules.matching import match


@given(st.dictionaries(st.integers(0, 5), st.lists(st.integers(0, 5), unique=True), max_size=6))
def test_no_other_way_gives_makers_to_more_things(makers: dict[int, list[int]]) -> None:
    given_makers = match(makers)
    assert all(maker in makers[thing] for thing, maker in given_makers.items())
    assert len(set(given_makers.values())) == len(given_makers)
    most = max(
        sum(maker in makers[thing] for thing, maker in zip(makers, order, strict=False))
        for order in permutations(range(6))
    )
    assert len(given_makers) == most


def test_a_long_chain_of_things_hands_on_its_makers() -> None:
    count = 3_000
    makers = {number: [number, number - 1] for number in range(count)}
    makers[count] = [count - 1]
    assert len(match(makers)) == count + 1
