"""Judges a kata that was created once at most.

Its creation comes before all that happened in it, and its deletion after that. A call that found
the kata tells that it was created when the call ended, and not deleted when the call was sent.

A call that found none tells one of two: that the kata was not created when the call was sent, or
that it was deleted when the call ended. The first can be if the call was sent before the first of
the moments by which anything had to be there. Then the kata, and all in it, may have come after the
sending, so the first is taken. Else the second has to be.
"""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from support.histories.attempts import (
    NO_SUCH_AVATAR,
    NO_SUCH_KATA,
    REQUEST_ID_REUSED,
    Attempt,
    Kind,
    Reading,
)
from support.histories.rules import model
from support.histories.rules.events import Contradiction, Event, Why
from support.histories.rules.findings import Rule, Teller, Told
from support.histories.rules.lights import Lights
from support.histories.rules.requests import Request, asked
from support.histories.rules.starts import GaveUp, Starts


class _Read(NamedTuple):
    """A read, from when on it had to show what was there, and the rule that it breaks if not."""

    attempt: Attempt
    since: float
    rule: Rule


class Kata:
    """A kata, and what all attempts about it tell, but those that may have created it."""

    def __init__(
        self, attempts: list[Attempt], final: list[Attempt], teller: Teller, *, stale_reads: bool
    ) -> None:
        """Take the attempts, and the reads in the end, which are never stale."""
        self.told: list[Told] = []
        self.undecided: list[str] = []
        self._teller = teller
        self._created = Event("the kata", "created")
        self._deleted = Event("the kata", "deleted")
        self._content: tuple[str, Attempt] | None = None
        self._lights: dict[str, Lights] = {}
        self._not_found: list[_Read] = []
        reads = [each for each in attempts if each.call.kind is Kind.READ]
        self._reads = [
            *(_Read(each, -math.inf if stale_reads else each.sent, Rule.SHOWN) for each in reads),
            *(_Read(each, each.sent, Rule.KEPT) for each in final),
        ]
        self._lists = [
            (read, {*read.attempt.answer.avatars, *read.attempt.answer.damaged})
            for read in self._reads
            if isinstance(read.attempt.answer, Reading) and not read.attempt.call.avatar
        ]
        self._deletes = [each for each in attempts if each.call.kind is Kind.DELETE_KATA]
        for attempt in attempts:
            if attempt.call.kind is not Kind.READ:
                self._note(_Read(attempt, attempt.sent, Rule.NOT_FOUND))
        self._starts = Starts(attempts, self._lights_of, teller)
        for name, records in _by_avatar(attempts):
            self._lights_of(name).add_records(records)
        for read in self._reads:
            self._note(read)
            self._add_read(read)
        for lights in self._started():
            lights.settle()
            first = lights.deadline(0)
            self._created.not_after(first.latest, first.latest_why)

    @property
    def is_known(self) -> bool:
        """Whether anything shows that there was such a kata."""
        return self._created.latest < math.inf

    @property
    def names(self) -> list[str]:
        """The names of all avatars that an attempt tells something of."""
        return list(self._lights)

    def can_be_of(self, request: Request) -> bool:
        """Say whether a request without an answer can have created the kata."""
        return any(
            each.sent <= self._created.latest and self._content_is(each.call.content)
            for each in request.unknown
        )

    def judge(self, request: Request) -> None:
        """Judge all, given the request that created the kata."""
        self.told += request.disagreements(self._teller)
        for attempt in request.acknowledged:
            self._found(attempt, attempt.sent)
        if not self.is_known:
            return
        self._judge_creation(request)
        self._judge_deletion()
        try:
            self._starts.judge([each.name for each in self._started()], self._deleted)
        except GaveUp:
            text = "which StartAvatars without an answer started which avatars takes too many steps"
            self.undecided.append(text)
        self.told += self._starts.told
        latest = [self._created]
        for lights in self._lights.values():
            if lights.is_started:
                lights.judge(self._deleted)
                latest.append(max(lights.events, key=lambda each: each.earliest))
            self.told += lights.told
        pairs = [(each, self._deleted) for each in [*latest, self._deleted]]
        for late, early in [(self._created, self._created), *pairs]:
            if late.earliest > early.latest:
                found = Contradiction(late, early)
                self.told.append((found.rule, found.tell(self._teller)))

    def _lights_of(self, name: str) -> Lights:
        """Return the lights of an avatar, which may not be started."""
        if name not in self._lights:
            lights = self._lights[name] = Lights(name, self._teller)
            for read, shown in self._lists:
                if name not in shown:
                    lights.not_yet(0, read.since, Why(read.rule, "it was not shown", read.attempt))
        return self._lights[name]

    def _started(self) -> Iterator[Lights]:
        return (each for each in list(self._lights.values()) if each.is_started)

    def _note(self, read: _Read) -> None:
        """Note whether the kata was found."""
        attempt = read.attempt
        is_telling = attempt.is_refused and attempt.reason in model.TELLING
        if is_telling and attempt.reason not in model.REFUSALS[attempt.call.kind]:
            self._tell(Rule.ANSWERS, "such a call is not refused like this", attempt)
        elif attempt.is_acknowledged or (is_telling and attempt.reason != NO_SUCH_KATA):
            self._found(attempt, read.since)
        elif is_telling:
            rule = Rule.KEPT if read.rule is Rule.KEPT else Rule.NOT_FOUND
            self._not_found.append(read._replace(rule=rule))

    def _found(self, attempt: Attempt, since: float) -> None:
        why = Why(Rule.ORDER, "it was there", attempt)
        self._created.not_after(attempt.ended, why)
        self._deleted.not_before(since, why)

    def _add_read(self, read: _Read) -> None:
        attempt, answer = read.attempt, read.attempt.answer
        if attempt.is_refused and attempt.reason == NO_SUCH_AVATAR and attempt.call.avatar:
            rule = Rule.KEPT if read.rule is Rule.KEPT else Rule.NOT_FOUND
            why = Why(rule, "it was not found", attempt)
            self._lights_of(attempt.call.avatar).not_yet(0, read.since, why)
        if not isinstance(answer, Reading):
            return
        if answer.damaged:
            self._tell(Rule.DAMAGED, f"damaged: {', '.join(answer.damaged)}", attempt)
        if answer.content and not self._content_is(answer.content):
            self._tell(Rule.CONTENT, "the kata was shown with different contents", attempt)
        elif answer.content:
            self._content = answer.content, attempt
        for name, seen in answer.avatars.items():
            self._lights_of(name).add_seen(seen, attempt, read.since, read.rule)

    def _judge_creation(self, request: Request) -> None:
        made = [each for each in request.unknown if self._content_is(each.call.content)]
        if request.acknowledged:
            made = [request.first_sent(asked(request.acknowledged[0].call))]
        if made:
            first = min(made, key=lambda each: each.sent)
            why = Why(Rule.ORDER, "nobody asked for it before", first)
            self._created.not_before(first.sent, why)
        else:
            self._tell(Rule.UNASKED, "nobody created the kata, or not like this", *request.unknown)
        if request.acknowledged and self._content is not None:
            made_of = request.acknowledged[0]
            if made_of.call.content != self._content[0]:
                text = "the kata is not what was created"
                self._tell(Rule.CONTENT, text, made_of, self._content[1])
        for attempt in request.refused:
            if attempt.reason == REQUEST_ID_REUSED:
                self._found(attempt, attempt.sent)
                is_same = self._content is not None and self._content_is(attempt.call.content)
                if is_same or request.reused_by(attempt) is None:
                    self._tell(Rule.REUSED, "no other request has this id", attempt)

    def _judge_deletion(self) -> None:
        """Find out when the kata was deleted, if it was."""
        done = [each for each in self._deletes if each.is_acknowledged]
        sent = [each for each in self._deletes if not each.is_refused]
        if len(done) > 1:
            self._tell(Rule.DELETED_ONCE, "the kata was deleted more than once", *done)
        if done:
            last = max(done, key=lambda each: each.ended)
            why = Why(Rule.STAYS_DELETED, "it was acknowledged", last)
            self._deleted.not_after(last.ended, why)
        elif sent:
            first = min(sent, key=lambda each: each.sent)
            why = Why(Rule.ORDER, "nobody asked for it before", first)
            self._deleted.not_before(first.sent, why)
        else:
            self._deleted.not_before(math.inf, Why(Rule.ORDER, "nobody asked for it"))
        for attempt, since, rule in self._not_found:
            if since > self._created.latest:
                self._deleted.not_after(attempt.ended, Why(rule, "it was not found", attempt))

    def _content_is(self, content: str) -> bool:
        """Say whether the kata can have been created from this."""
        return self._content is None or self._content[0] == content

    def _tell(self, rule: Rule, text: str, *attempts: Attempt) -> None:
        told = f": {self._teller.attempts(attempts)}." if attempts else "."
        self.told.append((rule, text + told))


def _by_avatar(attempts: Iterable[Attempt]) -> Iterable[tuple[str, list[Attempt]]]:
    """Return the RecordTests of each avatar."""
    found: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        if attempt.call.kind is Kind.RECORD_TEST:
            found.setdefault(attempt.call.avatar, []).append(attempt)
    return found.items()
