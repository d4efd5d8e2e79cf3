"""Editions: of what several machines write of a kata, the highest counts.

An edition is the number of a generation, and behind it what tells one owner of the kata from the
next: the owner's token in etcd. A generation is as long as one etcd has its data, or as long as a
storer was the only one after several were.
"""

from typing import Protocol

# A token takes fewer bits: at a thousand changes of etcd in a second it would take 34 years.
_TOKEN_BITS = 40


def edition(generation: int, token: int) -> int:
    """Return the edition of what an owner with this token archives."""
    return generation << _TOKEN_BITS | token


class EditionSource(Protocol):
    """The editions in which a machine writes."""

    def of(self, kata_id: str) -> int:
        """Return that of a kata; raise if this machine may not write it."""

    def unanswered(self, kata_id: str) -> None:
        """Take note that a write of a kata was not answered.

        It may still happen, over what is written under the same name since then.
        """

    def generation(self) -> int:
        """Return the generation of what is written from now on."""


class AloneEditions:
    """The editions of a storer that is alone: one for all katas, the first of its generation."""

    def __init__(self, generation: int) -> None:
        self._generation = generation

    def of(self, _: str) -> int:
        """Return the edition of every kata."""
        return edition(self._generation, 0)

    def unanswered(self, _: str) -> None:
        """Do nothing: what is copied next has all of the kata, or what the tar before it lacks."""

    def generation(self) -> int:
        """Return the generation."""
        return self._generation
