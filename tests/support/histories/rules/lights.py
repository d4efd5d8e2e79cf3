"""Judges the lights of one avatar. Their numbers give their order, so no search is needed.

Every light that anybody saw or was told of is an event, and so are those with smaller numbers. What
a call tells of them is that one had happened already, or another one not yet:

- an acknowledged RecordTest: its light was there when it ended, and not before it was sent, or an
  earlier attempt of the same request that has no answer;
- a STALE_NUMBER that names light 5, and a read that shows it as the newest: light 5 was there when
  the call ended, and light 6 was not yet when it was sent. If both hold there is a moment between
  its sending and its end in which light 5 was the newest;
- NO_SUCH_AVATAR: the start was not yet when the call was sent.

Lights whose number nobody was told were made by requests without an answer. Each needs one of its
own, with its content where that is known, that was sent before the light had to be there. That is a
matching and no search: a request that is in time for its light is in time for the later ones.
"""

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import NamedTuple

from support.histories.attempts import (
    NO_SUCH_AVATAR,
    REQUEST_ID_REUSED,
    STALE_NUMBER,
    Attempt,
    Kind,
    Seen,
)
from support.histories.rules.events import Contradiction, Event, Why, contradictions
from support.histories.rules.findings import Rule, Teller, Told
from support.histories.rules.matching import match
from support.histories.rules.requests import Request, asked, grouped


class Lights:
    """The lights of an avatar, 0 for its start, and what is known of them."""

    def __init__(self, name: str, teller: Teller) -> None:
        self.name = name
        self.told: list[Told] = []
        self._teller = teller
        self.is_started = False  # something shows that it was
        self._events = [Event(name, "started")]
        self._not_yet: list[tuple[int, float, Why]] = []
        self._contents: dict[int, tuple[str, Attempt]] = {}
        self._makers: dict[int, list[Request]] = {}
        self._requests: list[Request] = []
        self._deadlines: list[Event] = []

    @property
    def events(self) -> list[Event]:
        """All that happened, the start first. Without `is_started` nothing has to have happened."""
        return self._events

    @property
    def start(self) -> Event:
        """The start of the avatar."""
        return self._events[0]

    def happened(self, number: int) -> Event:
        """Return the event of a light that was recorded, as were those before it."""
        self.is_started = True
        for each in range(len(self._events), number + 1):
            self._events.append(Event(f"light {each} of {self.name}", "recorded"))
        return self._events[number]

    def not_yet(self, number: int, time: float, why: Why) -> None:
        """Tell that a light was not recorded before this time, if it ever was."""
        self._not_yet.append((number, time, why))

    def add_records(self, attempts: Iterable[Attempt]) -> None:
        """Add the RecordTests."""
        self._requests = grouped(attempts, Kind.RECORD_TEST)
        for request in self._requests:
            self.told += request.disagreements(self._teller)
            for attempt in request.acknowledged:
                self._add_recorded(request, attempt)
            for attempt in request.refused:
                self._add_refused(request, attempt)

    def add_seen(self, seen: Seen, attempt: Attempt, since: float, rule: Rule) -> None:
        """Add what a read showed; `since` is from when on it had to show what was there."""
        if seen.irregular:
            numbers = ", ".join(map(str, seen.irregular[:10]))
            text = f"lights of {self.name} are missing, or there more than once ({numbers})"
            self._tell(Rule.NO_GAPS, text, attempt)
        shown = Why(Rule.ORDER, "it was shown", attempt)
        self.happened(seen.newest).not_after(attempt.ended, shown)
        self.not_yet(seen.newest + 1, since, Why(rule, "it was not shown", attempt))
        for number, content in seen.contents.items():
            if not content:
                continue
            known, by = self._contents.setdefault(number, (content, attempt))
            if known != content:
                text = f"light {number} of {self.name} was shown with different contents"
                self._tell(Rule.CONTENT, text, by, attempt)

    def settle(self) -> None:
        """Take note of when which light had to be there: all attempts and reads were added."""
        for number, time, why in self._not_yet:
            if number < len(self._events):
                self._events[number].not_before(time, why)
        self._deadlines = list(accumulate(reversed(self._events), _earlier))[::-1]

    def deadline(self, number: int) -> Event:
        """Return which event it is, of a light and those after it, that had to be there first."""
        return self._deadlines[number] if self._deadlines else self._events[number]

    def judge(self, end: Event) -> None:
        """Judge the lights. `end` is the deletion of the kata, the starts are judged before."""
        for number, (content, by) in self._contents.items():
            for request in self._makers.get(number, [])[:1]:
                made = request.acknowledged[0]
                if made.call.content != content:
                    text = f"light {number} of {self.name} is not what was recorded"
                    self._tell(Rule.CONTENT, text, made, by)
        for number, requests in self._makers.items():
            if len(requests) > 1:
                text = f"light {number} of {self.name} was acknowledged to several requests"
                self._tell(Rule.ONE_NUMBER, text, *(each.acknowledged[0] for each in requests))
        self._find_makers(end)
        self._judge_order()

    def _add_recorded(self, request: Request, attempt: Attempt) -> None:
        number = attempt.answer
        if not isinstance(number, int) or number < 1 or attempt.call.expected not in {None, number}:
            self._tell(Rule.ANSWERS, "a light got a number that it can't have", attempt)
            return
        event = self.happened(number)
        event.not_after(attempt.ended, Why(Rule.ORDER, "it was acknowledged", attempt))
        makers = self._makers.setdefault(number, [])
        if request not in makers:
            makers.append(request)
            if len(makers) > 1:
                return  # that is told by itself
            first = request.first_sent(asked(attempt.call))
            event.not_before(first.sent, Why(Rule.ORDER, "nobody asked for it before", first))

    def _add_refused(self, request: Request, attempt: Attempt) -> None:
        if attempt.reason == NO_SUCH_AVATAR:
            why = Why(Rule.NOT_FOUND, "it was not found", attempt)
            self.not_yet(0, attempt.sent, why)
        elif attempt.reason == STALE_NUMBER and attempt.newest is not None:
            self._add_stale(request, attempt, attempt.newest)
        elif attempt.reason == REQUEST_ID_REUSED:
            why = Why(Rule.REUSED, "its request id was found to be used", attempt)
            self.happened(0).not_after(attempt.ended, why)
            before = request.reused_by(attempt)
            if before is None:
                self._tell(Rule.REUSED, f"no other request of {self.name} has this id", attempt)
            elif isinstance(before.answer, int) and before.answer > 0:
                self.happened(before.answer).not_after(attempt.ended, why)

    def _add_stale(self, request: Request, attempt: Attempt, newest: int) -> None:
        why = Why(Rule.STALE, f"light {newest} was told to be the newest", attempt)
        self.happened(newest).not_after(attempt.ended, why)
        self.not_yet(newest + 1, attempt.sent, why)
        if attempt.call.expected in {None, newest + 1}:
            self._tell(Rule.STALE, f"it would have been the next light of {self.name}", attempt)
        for made in request.acknowledged:
            if isinstance(made.answer, int) and made.answer <= newest:
                text = f"a request that had light {made.answer} of {self.name} was refused as stale"
                self._tell(Rule.STALE, text, made, attempt)

    def _find_makers(self, end: Event) -> None:
        """Find a request without an answer for each light that no request was told of."""
        offers = [offer for each in self._requests if each.is_unanswered for offer in _offers(each)]
        by_content: dict[str, list[_Offer]] = {}
        for offer in offers:
            by_content.setdefault(offer.attempt.call.content, []).append(offer)
        fitting: dict[int, list[_Offer]] = {}
        for number in range(1, len(self._events)):
            if number not in self._makers:
                known = self._contents.get(number)
                alike = offers if known is None else by_content.get(known[0], [])
                fitting[number] = [offer for offer in alike if offer.fits(number)]
        in_time = {
            number: [o for o in found if o.since <= min(self.deadline(number).latest, end.latest)]
            for number, found in fitting.items()
        }
        makers = match({number: [o.request for o in found] for number, found in in_time.items()})
        used = set(makers.values())
        for number, found in fitting.items():
            mine = [o for o in in_time[number] if o.request is makers.get(number)]
            # Another one would have been too late: that contradicts the deadline.
            unused = [o for o in found if o.request not in used]
            if made := (mine or unused):
                offer = min(made, key=lambda each: each.since)
                why = Why(Rule.ORDER, "nobody else asked for it before", offer.attempt)
                self._events[number].not_before(offer.since, why)
            else:
                self._tell_unasked(number)

    def _tell_unasked(self, number: int) -> None:
        light = f"light {number} of {self.name}"
        if number not in self._contents:
            newest = self._events[-1]
            text = f"no RecordTest can have made {light}, but there is {newest.subject}"
            self._tell(Rule.NO_GAPS, text)
            return
        content, by = self._contents[number]
        for other, requests in self._makers.items():
            if requests[0].acknowledged[0].call.content == content:
                text = f"{light} is what was recorded once, as light {other}"
                self._tell(Rule.ONCE, text, requests[0].acknowledged[0], by)
                return
        same = [each for each, (known, _) in self._contents.items() if known == content]
        rule = Rule.ONCE if len(same) > 1 else Rule.UNASKED
        self._tell(rule, f"nobody recorded what is {light}, or not as often as it is there", by)

    def _judge_order(self) -> None:
        """Tell of lights that were there before one with a smaller number could be."""
        found: dict[Event, list[Contradiction]] = {}
        for each in contradictions(self._events):
            found.setdefault(each.late, []).append(each)
        for alike in found.values():
            more = f" And so on: {len(alike)} lights." if len(alike) > 1 else ""
            self.told.append((alike[0].rule, alike[0].tell(self._teller) + more))

    def _tell(self, rule: Rule, text: str, *attempts: Attempt) -> None:
        told = f": {self._teller.attempts(attempts)}." if attempts else "."
        self.told.append((rule, text + told))


def _earlier(one: Event, other: Event) -> Event:
    """Return which of two events had to be there first."""
    return one if one.latest < other.latest else other


class _Offer(NamedTuple):
    """A light that a request without an answer can have made, from the sending of `attempt` on.

    It comes after the `newest` light that a refusal of the request told of.
    """

    request: Request
    attempt: Attempt
    newest: int

    @property
    def since(self) -> float:
        """From when on it can have been made."""
        return self.attempt.sent

    def fits(self, number: int) -> bool:
        """Say whether the light can have this number."""
        return number > self.newest and self.attempt.call.expected in {None, number}


def _offers(request: Request) -> Iterator[_Offer]:
    """Yield the lights that a request can have made; attempts can differ in what they asked for."""
    stale = request.refused_with(STALE_NUMBER)
    newest = max((each.newest or 0 for each in stale), default=0)
    for what in dict.fromkeys(asked(each.call) for each in request.unknown):
        yield _Offer(request, request.first_sent(what), newest)
