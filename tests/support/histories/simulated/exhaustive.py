"""Tries all orders of a history's calls. It judges the judge, so it is as simple as can be.

That takes milliseconds for a dozen calls of two clients, but can take forever if many have no
answer: it ends with `TooManyOrders` then.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

from support.histories.attempts import Attempt, Kind, Outcome, Reading
from support.histories.rules import model

# The katas that there are, by their ids; and which request has which id.
_State = tuple[frozenset[tuple[str, model.Kata]], frozenset[tuple[str, str]]]


_MAX_STATES = 20_000


class TooManyOrders(Exception):
    """Trying all orders takes too long."""


def is_possible(attempts: list[Attempt], final: list[Attempt], *, stale_reads: bool) -> bool:
    """Say whether one storer, doing one call after the other, could have given all the answers.

    Raises TooManyOrders.
    """
    shown = {name for each in [*attempts, *final] for name in _names(each)}
    calls: list[Attempt] = []
    for each in attempts:
        is_stale = stale_reads and each.call.kind is Kind.READ
        calls += model.parts(replace(each, sent=-math.inf) if is_stale else each, shown)
    for each in final:
        calls += model.parts(each, shown)
    ids = sorted({each.call.kata for each in calls if each.call.kata})
    calls = [each for each in calls if _says_something(each)]
    return _Orders(calls, ids).exist(frozenset(range(len(calls))), (frozenset(), frozenset()))


class _Orders:
    """The orders in which calls can be done."""

    def __init__(self, calls: list[Attempt], ids: list[str]) -> None:
        self._calls = calls
        self._ids = ids
        self._failed: set[tuple[frozenset[int], _State]] = set()

    def exist(self, left: frozenset[int], state: _State) -> bool:
        """Say whether the calls that are left can be done from this state on."""
        ends = [self._calls[each].ended for each in left if self._has_to_be_done(each)]
        if not ends:
            return True
        if (left, state) in self._failed:
            return False
        for place in sorted(left):
            if self._calls[place].sent <= min(ends) and any(
                self.exist(left - {place}, after) for after in self._do(place, state)
            ):
                return True
        self._failed.add((left, state))
        if len(self._failed) > _MAX_STATES:
            raise TooManyOrders
        return False

    def _has_to_be_done(self, place: int) -> bool:
        return self._calls[place].outcome is not Outcome.UNKNOWN

    def _do(self, place: int, state: _State) -> Iterator[_State]:
        """Yield the states after a call, if it can have ended as it did."""
        attempt = self._calls[place]
        call = attempt.call
        katas, requests = dict(state[0]), dict(state[1])
        if call.kind is not Kind.CREATE_KATA:
            ids = [call.kata]
        elif (request := call.request_id or f"call {place}") in requests:
            ids = [requests[request]]
        else:
            # An id of its own; one that nobody names stands for all of those.
            named = [*self._ids, f"of {request}"]
            if attempt.is_acknowledged:
                named = [str(attempt.answer)]
            ids = [each for each in named if each not in requests.values()]
        for kata_id in ids:
            now = dict(requests)
            if call.kind is Kind.CREATE_KATA:
                now[call.request_id or f"call {place}"] = kata_id
            for step in model.steps(katas.get(kata_id), call, kata_id):
                if model.explains(step.result, attempt):
                    after = {**katas, kata_id: step.state}
                    there = frozenset((key, kata) for key, kata in after.items() if kata)
                    done = there, frozenset(now.items())
                    if self._has_to_be_done(place) or done != state:
                        yield done


def _says_something(attempt: Attempt) -> bool:
    """Say whether it matters if a call is done."""
    if attempt.is_refused:
        return attempt.reason in model.TELLING
    return attempt.is_acknowledged or attempt.call.kind is not Kind.READ


def _names(attempt: Attempt) -> list[str]:
    """Return the avatars that an attempt names."""
    call, answer = attempt.call, attempt.answer
    shown = list(answer.avatars) if isinstance(answer, Reading) else []
    is_start = call.kind is Kind.START_AVATAR and isinstance(answer, str)
    return [*filter(None, [call.avatar]), *call.order, *shown, *([str(answer)] if is_start else [])]
