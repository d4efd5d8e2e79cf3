"""Inputs beyond each bound do no harm either, and end in time."""

import pytest

from support.fuzz import largest
from support.fuzz.targets import try_
from support.fuzz.watched import World


@pytest.mark.parametrize("name", largest.INPUTS)
def test_an_input_of_the_largest_size_does_no_harm(world: World, name: str) -> None:
    try_(world, *largest.INPUTS[name]())
