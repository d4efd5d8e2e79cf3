"""When something happened: not before one moment and not after another, each for a reason.

Events that are known to follow each other can have happened if and only if no event has to be later
than itself or one that follows it may be: then each may have happened as soon as it and those
before it could. So a contradiction is always one between two moments, each with its reason.
"""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from support.histories.attempts import Attempt
from support.histories.rules.findings import Rule, Teller

_RULES = list(Rule)


class Why(NamedTuple):
    """Why an event was not before, or not after, a moment; the rule is broken if it was."""

    rule: Rule
    text: str
    attempt: Attempt | None = None


_NEVER = Why(Rule.ORDER, "nothing says more")


class Event:
    """Something that happened at one moment: the `subject` was `done`, such as started."""

    __slots__ = ("done", "earliest", "earliest_why", "latest", "latest_why", "subject")

    def __init__(self, subject: str, done: str) -> None:
        self.subject = subject
        self.done = done
        self.earliest = -math.inf
        self.earliest_why = _NEVER
        self.latest = math.inf
        self.latest_why = _NEVER

    def copy(self) -> "Event":
        """Return an event of which the same is known."""
        other = Event(self.subject, self.done)
        other.not_before(self.earliest, self.earliest_why)
        other.not_after(self.latest, self.latest_why)
        return other

    def tell_latest(self, teller: Teller) -> str:
        """Return by when it had happened, and why, in words."""
        because = _because(self.latest_why, teller)
        return f"{self.subject} was {self.done} by {teller.time(self.latest)}, as {because}"

    def not_before(self, time: float, why: Why) -> None:
        """Tell that the event did not happen before this time."""
        if time > self.earliest:
            self.earliest, self.earliest_why = time, why

    def not_after(self, time: float, why: Why) -> None:
        """Tell that the event did not happen after this time."""
        if time < self.latest:
            self.latest, self.latest_why = time, why


class Contradiction(NamedTuple):
    """`late` comes first, or is the same, and was not yet when `early` had happened."""

    late: Event
    early: Event

    @property
    def rule(self) -> Rule:
        """The rule that is broken."""
        broken = self.late.earliest_why.rule, self.early.latest_why.rule
        return min(broken, key=_RULES.index)

    def tell(self, teller: Teller) -> str:
        """Return both sides in words."""
        late, early = self.late, self.early
        if math.isinf(late.earliest):
            but = "but it never was"
        elif late.subject == early.subject:
            but = f"but not before {teller.time(late.earliest)}"
        else:
            but = (
                f"but {late.subject}, which comes first, was not {late.done} before "
                f"{teller.time(late.earliest)}"
            )
        because = _because(late.earliest_why, teller)
        return f"{early.tell_latest(teller)}; {but}, as {because}."


def contradictions(events: Iterable[Event]) -> Iterator[Contradiction]:
    """Yield the events that were too early, each with the one before it that was too late."""
    latest_so_far: Event | None = None
    for event in events:
        if latest_so_far is None or event.earliest > latest_so_far.earliest:
            latest_so_far = event
        if latest_so_far.earliest > event.latest:
            yield Contradiction(latest_so_far, event)


def _because(why: Why, teller: Teller) -> str:
    return why.text if why.attempt is None else f"{why.text} ({teller.attempt(why.attempt)})"
