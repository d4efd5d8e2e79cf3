"""What happens to a kata at the same time does no harm, nor holds up other katas."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from support.fuzz import concurrent, messages, profiles
from support.fuzz.targets import try_
from support.fuzz.watched import World

RUNS = st.fixed_dictionaries(
    {
        "rpc": st.sampled_from(["Run", "RunStream"]),
        "script": st.sampled_from([b"sleep 100", b"yes", b"echo 1; sleep 0.2", b"exit 1", b"("]),
        "seconds": st.sampled_from([0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.5]),
        "then": st.lists(st.sampled_from(concurrent.AFTER_A_RUN), max_size=2, unique=True),
    }
)
# What makes katas would leave eighty of them.
WAITING = [method for method in messages.STORER if method.name not in {"CreateKata", "ForkKata"}]


@st.composite
def waiting(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Return calls that wait, most of them, for one kata."""
    methods = draw(st.lists(st.sampled_from(WAITING), min_size=1, max_size=4))
    return [
        {"method": each.full_name, "messages": draw(messages.requests(each))} for each in methods
    ]


CHANGED = st.fixed_dictionaries(
    {
        "changes": st.lists(st.sampled_from(concurrent.CHANGES), min_size=2, max_size=12),
        "rpcs": st.lists(st.sampled_from(concurrent.OF_A_SANDBOX), min_size=1, max_size=4),
    }
)


def test_a_run_that_is_cancelled_leaves_nothing(world: World) -> None:
    @profiles.examples(10)
    @given(RUNS)
    def fuzz(run: dict[str, Any]) -> None:
        try_(world, "cancelled_run", run)

    fuzz()


def test_a_kata_that_is_held_holds_up_no_other(world: World) -> None:
    @profiles.examples(4)
    @given(waiting())
    def fuzz(calls: list[dict[str, Any]]) -> None:
        try_(world, "held_kata", calls)

    fuzz()


def test_a_sandbox_may_change_while_it_is_copied(world: World) -> None:
    @profiles.examples(4)
    @given(CHANGED)
    def fuzz(changed: dict[str, Any]) -> None:
        try_(world, "changing_sandbox", changed)

    fuzz()
