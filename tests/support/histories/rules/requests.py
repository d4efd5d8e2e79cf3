"""Requests: the attempts that have one request id, and so make one thing together at most."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from support.histories.attempts import Attempt, Call, Kind
from support.histories.rules.findings import Rule, Teller, Told

# What makes a repeated request the same one: its content, its expected number, its order.
Asked = tuple[str, int | None, tuple[str, ...]]


def asked(call: Call) -> Asked:
    """Return what a call asks for, besides its kata, avatar and request id."""
    return call.content, call.expected, call.order


@dataclass(slots=True, eq=False)
class Request:
    """The attempts with one request id, about one kata or avatar; or one attempt without an id.

    A storer looks for the request's id before anything else that it could refuse the call for, so
    a refusal that tells of the state tells that the request had made nothing yet.
    """

    acknowledged: list[Attempt] = field(default_factory=list)
    refused: list[Attempt] = field(default_factory=list)
    unknown: list[Attempt] = field(default_factory=list)

    def add(self, attempt: Attempt) -> None:
        """Add an attempt."""
        if attempt.is_acknowledged:
            self.acknowledged.append(attempt)
        elif attempt.is_refused:
            self.refused.append(attempt)
        else:
            self.unknown.append(attempt)

    @property
    def is_unanswered(self) -> bool:
        """Whether it may have made something, and nobody was told what."""
        return bool(self.unknown) and not self.acknowledged

    def first_sent(self, what: Asked) -> Attempt:
        """Return the first of the attempts that can have made what they asked for.

        The thing was made between the time at which this one was sent and the first answer, and
        may have been made at any time in between: no attempt that has an answer ended before, and
        one without an answer may take effect at any time.
        """
        made = [*self.acknowledged, *self.unknown]
        return min((each for each in made if asked(each.call) == what), key=lambda each: each.sent)

    def refused_with(self, reason: str) -> list[Attempt]:
        """Return the attempts that were refused for this reason."""
        return [each for each in self.refused if each.reason == reason]

    def reused_by(self, refused: Attempt) -> Attempt | None:
        """Return an attempt for which one can have been refused with REQUEST_ID_REUSED, or None.

        An attempt with an answer is preferred.
        """
        what = asked(refused.call)
        if any(asked(each.call) == what for each in self.acknowledged):
            return None  # only one request can have the id
        others = [*self.acknowledged, *self.unknown] if refused.call.request_id else []
        sent_before = (each for each in others if each.sent <= refused.ended)
        return next((each for each in sent_before if asked(each.call) != what), None)

    def disagreements(self, teller: Teller) -> list[Told]:
        """Return what is wrong with its answers, whatever else happened."""
        found: list[Told] = []
        if any(each.answer != self.acknowledged[0].answer for each in self.acknowledged):
            told = teller.attempts(self.acknowledged)
            found.append((Rule.ANSWERS, f"one request got different answers: {told}."))
        if len({asked(each.call) for each in self.acknowledged}) > 1:
            told = teller.attempts(self.acknowledged)
            found.append((Rule.REUSED, f"different requests with one id got answers: {told}."))
        return found


def grouped(attempts: Iterable[Attempt], kind: Kind) -> list[Request]:
    """Return the requests of one kind, about one kata or one avatar."""
    found: dict[object, Request] = {}
    for attempt in attempts:
        if attempt.call.kind is kind:
            key = attempt.call.request_id or id(attempt)
            found.setdefault(key, Request()).add(attempt)
    return list(found.values())
