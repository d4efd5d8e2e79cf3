"""Looks for an order of a kata's calls in which a single storer could have done them all.

This is the search of Wing & Gong ("Testing and verifying concurrent objects", 1993) with the memory
of Lowe ("Testing for linearizability", 2017): it does call after call on the model, never one that
was sent after another one had ended that is not done yet, and goes back where that leads nowhere.
Calls of an unknown outcome may be done or left out. It is exact, but takes exponential time at
worst, so it gives up after a number of steps: some seconds for a thousand calls.
"""

import math
from collections.abc import Iterable, Iterator
from itertools import accumulate

from support.histories.attempts import Attempt, Kind, Reading
from support.histories.rules import model
from support.histories.rules.model import State

MAX_STEPS = 20_000


class GaveUp(Exception):
    """The search took too many steps."""


def is_possible(kata_id: str, attempts: Iterable[Attempt], max_steps: int = MAX_STEPS) -> bool:
    """Say whether there is an order in which a single storer could have done all these calls.

    They are about one kata, and its reads are `model.parts`. Raises GaveUp.
    """
    return _Search(kata_id, attempts, max_steps).find()


class _Search:
    """A search. A set of attempts is an integer with a bit for each, by its place in the list."""

    def __init__(self, kata_id: str, attempts: Iterable[Attempt], max_steps: int) -> None:
        self._kata_id = kata_id
        self._steps_left = max_steps
        said = [each for each in attempts if _says_something(each)]
        ended = [each for each in said if each.latest < math.inf]
        self._ended = len(ended)
        # Those that ended first come first; then those of an unknown outcome, as they were sent.
        self._attempts = sorted(said, key=lambda each: (each.latest, each.sent))
        # From each place on, when the first of those that ended was sent.
        sent = [each.sent for each in self._attempts[: self._ended]]
        self._first_sent = list(accumulate(reversed(sent), min))[::-1]
        self._deletes = [
            (place, attempt.sent)
            for place, attempt in enumerate(self._attempts)
            if attempt.call.kind is Kind.DELETE_KATA
        ]
        self._claims: dict[tuple[str, int], list[tuple[int, str]]] = {}
        for place, attempt in enumerate(self._attempts):
            for number, content in _claims(attempt):
                claims = self._claims.setdefault((attempt.call.avatar, number), [])
                claims.append((place, content))

    def find(self) -> bool:
        """Say whether there is an order."""
        known: set[tuple[int, State]] = set()
        branches: list[Iterator[tuple[int, State]]] = [iter([(0, None)])]
        while branches:
            branch = next(branches[-1], None)
            if branch is None:
                branches.pop()
                continue
            done, state = self._with_observers(*branch)
            if _first(done) >= self._ended:
                return True
            if (done, state) in known:
                continue
            known.add((done, state))
            self._steps_left -= 1
            if self._steps_left < 0:
                raise GaveUp
            branches.append(self._branches(done, state))
        return False

    def _with_observers(self, done: int, state: State) -> tuple[int, State]:
        """Do what changes nothing and is right in this state.

        That is never wrong: what is done after it finds the same state.
        """
        before = -1
        while done != before:
            before = done
            for place, attempt in self._next(done):
                if _is_observer(attempt) and self._steps(state, attempt):
                    done |= 1 << place
        return done, state

    def _branches(self, done: int, state: State) -> Iterator[tuple[int, State]]:
        """Yield what can come next, the likely first: what has ended; what is about the same."""
        if _first(done) >= self._ended:
            return
        avatar = self._attempts[_first(done)].call.avatar
        coming = [each for each in self._next(done) if not _is_observer(each[1])]
        coming.sort(key=lambda each: (each[0] >= self._ended, each[1].call.avatar != avatar))
        for place, attempt in coming:
            after = done | 1 << place
            for step in self._steps(state, attempt):
                is_idle = place >= self._ended and step.state == state
                if not is_idle and not self._is_refuted(after, attempt, step):
                    yield after, step.state

    def _next(self, done: int) -> Iterator[tuple[int, Attempt]]:
        """Yield the attempts that nothing has to come before."""
        first = _first(done)
        if first >= self._ended:
            return
        until = self._attempts[first].ended
        place = first
        while place < self._ended and self._first_sent[place] <= until:
            if self._attempts[place].sent <= until and not done >> place & 1:
                yield place, self._attempts[place]
            place += 1
        for place in range(self._ended, len(self._attempts)):
            if self._attempts[place].sent > until:
                break
            if not done >> place & 1:
                yield place, self._attempts[place]

    def _steps(self, state: State, attempt: Attempt) -> list[model.Step]:
        found = model.steps(state, attempt.call, self._kata_id)
        return [step for step in found if model.explains(step.result, attempt)]

    def _is_refuted(self, done: int, attempt: Attempt, step: model.Step) -> bool:
        """Say whether an attempt that is to come claims another light than the one recorded.

        Only a deletion before it could make it right.
        """
        number = step.result.answer
        if not isinstance(number, int):
            return False
        claims = self._claims.get((attempt.call.avatar, number), ())
        wrong = [
            self._attempts[place].ended
            for place, content in claims
            if content != attempt.call.content and not done >> place & 1
        ]
        deletes = [sent for place, sent in self._deletes if not done >> place & 1]
        return bool(wrong) and min(wrong) < min(deletes, default=math.inf)


def _first(done: int) -> int:
    """Return the first place that is not in a set."""
    return (~done & (done + 1)).bit_length() - 1


def _claims(attempt: Attempt) -> Iterator[tuple[int, str]]:
    """Yield the numbers of lights of which an attempt says the content, with that."""
    answer = attempt.answer
    if attempt.call.kind is Kind.RECORD_TEST and isinstance(answer, int):
        yield answer, attempt.call.content
    elif isinstance(answer, Reading) and attempt.call.avatar:
        contents = answer.avatars[attempt.call.avatar].contents if answer.avatars else {}
        yield from ((number, content) for number, content in contents.items() if content)


def _is_observer(attempt: Attempt) -> bool:
    """Say whether an attempt changes nothing, whenever it is done."""
    return attempt.is_refused or attempt.call.kind is Kind.READ


def _says_something(attempt: Attempt) -> bool:
    """Say whether it matters if an attempt is done, and when."""
    if attempt.is_refused:
        return attempt.reason in model.TELLING
    return attempt.is_acknowledged or attempt.call.kind is not Kind.READ
