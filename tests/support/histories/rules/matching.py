"""Gives each of some things a maker of its own, if that is possible."""

from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T", bound=Hashable)
M = TypeVar("M", bound=Hashable)


def match(makers: Mapping[T, Sequence[M]]) -> dict[T, M]:
    """Return a maker for as many things as possible, no maker for two of them.

    `makers` has those that could have made each thing. Each thing looks for the shortest chain of
    things, each of which takes a maker from the next, to a maker that is free.
    """
    given: dict[T, M] = {}
    made: dict[M, T] = {}
    for thing in makers:
        wanted_by: dict[M, T] = {}
        waiting = deque([thing])
        while waiting:
            each = waiting.popleft()
            new = [maker for maker in makers[each] if maker not in wanted_by]
            wanted_by.update(dict.fromkeys(new, each))
            free = next((maker for maker in new if maker not in made), None)
            if free is not None:
                _hand_on(free, wanted_by, given, made)
                break
            waiting.extend(made[maker] for maker in new)
    return given


def _hand_on(maker: M, wanted_by: Mapping[M, T], given: dict[T, M], made: dict[M, T]) -> None:
    """Give a free maker to the thing that wants it, whose maker to the next, and so on."""
    free: M | None = maker
    while free is not None:
        thing = wanted_by[free]
        before = given.get(thing)
        given[thing], made[free] = free, thing
        free = before
