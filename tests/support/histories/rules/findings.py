"""What is wrong with a history, in words."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from support.histories.attempts import Attempt, Kind, Reading


class Rule(Enum):
    """What a history has to keep to. Of two rules that a finding is about, it names the first."""

    DAMAGED = "what was recorded can be read"
    ANSWERS = "each answer is one to what was asked, and the same whenever it was asked again"
    ONE_KATA = "no two requests get the same kata"
    ONE_AVATAR = "no two requests get the same avatar"
    ONE_NUMBER = "no two requests get the same number"
    ONCE = "what was asked for once is there once"
    CONTENT = "what is there is what was given"
    NO_GAPS = "lights have all numbers from 1"
    UNASKED = "somebody asked for what is there"
    KEPT = "what was acknowledged is there in the end"
    SHOWN = "a read shows what was there before it"
    NOT_FOUND = "a kata, or an avatar, is not found only where there may be none"
    STALE = "a number is stale only where another one may have been the next"
    TAKEN = "avatars are taken only where all of them may have been started"
    REUSED = "a request id is reused only where another request may have used it"
    PASSED_OVER = "no avatar gets started before those that would do better"
    DELETED_ONCE = "a kata is deleted once each time that it is created"
    STAYS_DELETED = "a deleted kata is not there any more"
    ORDER = "what ended before another was sent comes before it"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a single storer that never fails would not have done."""

    rule: Rule
    kata: str
    text: str

    def __str__(self) -> str:
        return f"kata {self.kata or '?'}: {self.text} (Rule: {self.rule.value}.)"


# What is wrong with a kata that is known.
Told = tuple[Rule, str]


class Teller:
    """Puts attempts into words, with times in seconds since the history began."""

    def __init__(self, attempts: Iterable[Attempt]) -> None:
        self._begin = min((each.sent for each in attempts), default=0.0)

    def time(self, time: float) -> str:
        """Return a time."""
        return f"{time - self._begin:.3f} s"

    def attempt(self, attempt: Attempt) -> str:
        """Return an attempt: what was asked, by whom, when, and how it ended."""
        call = attempt.call
        asked = [call.avatar] if call.avatar else []
        if call.request_id:
            asked.append(f"request {call.request_id}")
        if call.expected is not None:
            asked.append(f"to be light {call.expected}")
        if call.order:
            more = "" if len(call.order) <= 4 else f" and {len(call.order) - 4} others"
            asked.append(f"one of {', '.join(call.order[:4])}{more}")
        kind = f"{call.kind}({', '.join(asked)})"
        by = f" of client {attempt.client}" if attempt.client else ""
        ended = "not over" if math.isinf(attempt.ended) else f"over at {self.time(attempt.ended)}"
        return f"{kind}{by}, sent at {self.time(attempt.sent)}, {ended}, {_end(attempt)}"

    def attempts(self, attempts: Iterable[Attempt]) -> str:
        """Return the first few of these attempts."""
        listed = list(attempts)
        told = [self.attempt(each) for each in listed[:3]]
        if len(listed) > 3:
            told.append(f"and {len(listed) - 3} others")
        return "; ".join(told)


def _end(attempt: Attempt) -> str:
    """Return how an attempt ended."""
    if attempt.is_refused:
        newest = "" if attempt.newest is None else f", as light {attempt.newest} was the newest"
        return f"refused with {attempt.reason}{newest}"
    if not attempt.is_acknowledged:
        return f"outcome unknown ({attempt.reason})" if attempt.reason else "outcome unknown"
    if attempt.call.kind is Kind.DELETE_KATA:
        return "acknowledged"
    if isinstance(attempt.answer, Reading):
        shown = [f"{name} {seen.newest}" for name, seen in attempt.answer.avatars.items()]
        return f"which showed {', '.join(shown[:4]) or 'no avatar'}"
    return f"acknowledged: {attempt.answer}"
