"""Inputs beyond each bound do no harm either, and end in time."""

import pytest

from support.fuzz import largest, profiles
from support.fuzz.targets import try_
from support.fuzz.watched import World

NAMES = [name for name in largest.INPUTS if profiles.are_long() or name not in largest.SLOW]


@pytest.mark.parametrize("name", NAMES)
def test_an_input_of_the_largest_size_does_no_harm(world: World, name: str) -> None:
    try_(world, *largest.INPUTS[name]())
