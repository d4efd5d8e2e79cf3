"""Colours: what a run's output says about its tests."""

from dataclasses import dataclass
from enum import Enum


class Colour(Enum):
    """The outcome of a run."""

    RED = "red"
    AMBER = "amber"
    GREEN = "green"
    TIMED_OUT = "timed_out"
    FAULTY = "faulty"


@dataclass(frozen=True)
class Judgement:
    """A colour, and the reason why it is FAULTY, if it is."""

    colour: Colour
    reason: str = ""
