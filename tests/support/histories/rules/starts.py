"""Judges who started which avatar of a kata, and in which order.

An acknowledged StartAvatar starts its avatar, and says that those that would have done better were
started before it. AVATARS_TAKEN says that all that would do had been started. So the starts are
partly ordered, and possible if none has to be later than itself or one that follows may be.

Avatars that are there and that nobody was told of were started by requests without an answer. Each
needs one of its own. This takes a search, as such a request says in turn that those that would have
done better were started before. The search gives up after a number of steps; where such requests
are few, or name one avatar each, it takes about as many as there are.
"""

import graphlib
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from dojo import avatars
from support.histories.attempts import AVATARS_TAKEN, REQUEST_ID_REUSED, Attempt, Kind
from support.histories.rules.events import Contradiction, Event, Why, contradictions
from support.histories.rules.findings import Rule, Teller, Told
from support.histories.rules.lights import Lights
from support.histories.rules.matching import match
from support.histories.rules.requests import Request, asked, grouped

MAX_STEPS = 10_000


class GaveUp(Exception):
    """The search took too many steps."""


class Starts:
    """The starts of a kata's avatars."""

    def __init__(
        self, attempts: Iterable[Attempt], lights_of: Callable[[str], Lights], teller: Teller
    ) -> None:
        """Take the StartAvatars, and note what they say in the lights of each avatar."""
        self.told: list[Told] = []
        self._teller = teller
        self._lights_of = lights_of
        self._requests = grouped(attempts, Kind.START_AVATAR)
        self._starters: dict[str, list[Request]] = {}
        self._preferred: list[_Preferred] = []
        self._steps_left = MAX_STEPS
        for request in self._requests:
            self.told += request.disagreements(teller)
            for attempt in request.acknowledged:
                self._add_started(request, attempt)
            for attempt in request.refused:
                self._add_refused(request, attempt)

    def judge(self, started: Iterable[str], end: Event) -> None:
        """Judge the starts of the avatars that are known to be `started`. Raises GaveUp.

        `end` is the deletion of the kata.
        """
        for name, requests in self._starters.items():
            if len(requests) > 1:
                told = self._teller.attempts(each.acknowledged[0] for each in requests)
                self.told.append((Rule.ONE_AVATAR, f"several requests got {name}: {told}."))
        names = list(started)
        if any(next(contradictions(self._lights_of(name).events), None) for name in names):
            return  # the lights tell it
        wrong = self._contradiction(self._preferred, {})
        if wrong is not None:
            self.told.append(wrong)
            return
        todo = [name for name in names if name not in self._starters]
        if todo and self._have_starters(todo, end):
            self._find_starters(todo, end)

    def _add_started(self, request: Request, attempt: Attempt) -> None:
        name, order = attempt.answer, attempt.call.order
        if not isinstance(name, str) or name not in (order or avatars.NAMES):
            text = f"an avatar that would not do: {self._teller.attempt(attempt)}."
            self.told.append((Rule.ANSWERS, text))
            return
        start = self._lights_of(name).happened(0)
        start.not_after(attempt.ended, Why(Rule.ORDER, "it was acknowledged", attempt))
        starters = self._starters.setdefault(name, [])
        if request not in starters:
            starters.append(request)
            if len(starters) > 1:
                return  # that is told by itself
            first = request.first_sent(asked(attempt.call))
            start.not_before(first.sent, Why(Rule.ORDER, "nobody asked for it before", first))
            why = Why(Rule.PASSED_OVER, f"{name} was started instead", attempt)
            for better in _better(order, name):
                self._lights_of(better).happened(0).not_after(attempt.ended, why)
                self._preferred.append(_Preferred(better, name, attempt))

    def _add_refused(self, request: Request, attempt: Attempt) -> None:
        started = [each for each in request.acknowledged if isinstance(each.answer, str)]
        if attempt.reason == AVATARS_TAKEN:
            order = attempt.call.order or avatars.NAMES
            why = Why(Rule.TAKEN, "it was told to be taken", attempt)
            for name in order:
                self._lights_of(name).happened(0).not_after(attempt.ended, why)
            for each in started:
                if each.answer in order:
                    told = self._teller.attempts([attempt, each])
                    text = f"a request was refused although {each.answer} was its own: {told}."
                    self.told.append((Rule.TAKEN, text))
                else:
                    why = Why(Rule.TAKEN, "its request was refused", attempt)
                    self._lights_of(str(each.answer)).not_yet(0, attempt.sent, why)
        elif attempt.reason == REQUEST_ID_REUSED:
            before = request.reused_by(attempt)
            if before is None:
                told = self._teller.attempt(attempt)
                self.told.append((Rule.REUSED, f"no other request has this id: {told}."))
            elif isinstance(before.answer, str):
                why = Why(Rule.REUSED, "its request id was found to be used", attempt)
                self._lights_of(before.answer).happened(0).not_after(attempt.ended, why)

    def _have_starters(self, todo: list[str], end: Event) -> bool:
        """Say whether each of these avatars has a request of its own that is in time for it."""
        fitting = {name: [o for o in self._offers() if o.fits(name)] for name in todo}
        in_time = {
            name: [o.request for o in found if o.since <= self._deadline(name, end)]
            for name, found in fitting.items()
        }
        starters = match(in_time)
        used = set(starters.values())
        for name in todo:
            if name in starters:
                continue
            unused = [o for o in fitting[name] if o.request not in used]
            if unused:  # too late, which contradicts the deadline
                offer = min(unused, key=lambda each: each.since)
                self._lights_of(name).start.not_before(offer.since, _asked_first(offer.attempt))
            else:
                known = self._lights_of(name).deadline(0)
                text = f"nobody started {name}, who was there: {known.tell_latest(self._teller)}."
                self.told.append((Rule.UNASKED, text))
        return len(starters) == len(todo)

    def _find_starters(self, todo: list[str], end: Event) -> None:
        """Find a starter for each of these avatars, and for those that would have done better."""
        offers = list(self._offers())

        def find(todo: list[str], given: dict[str, _Offer], preferred: list[_Preferred]) -> bool:
            if not todo:
                starters.update(given)
                return True
            self._steps_left -= 1
            if self._steps_left < 0:
                raise GaveUp
            name, *rest = todo
            used = {each.request for each in given.values()}
            for offer in offers:
                if offer.request in used or not offer.fits(name):
                    continue
                if offer.since > self._deadline(name, end):
                    continue
                better = _better(offer.attempt.call.order, name)
                unknown = [
                    each
                    for each in better
                    if not (self._lights_of(each).is_started or each in given or each in todo)
                ]
                more = [*preferred, *(_Preferred(each, name, offer.attempt) for each in better)]
                now = {**given, name: offer}
                if self._contradiction(more, now) is None and find([*rest, *unknown], now, more):
                    return True
            return False

        starters: dict[str, _Offer] = {}
        if find(todo, {}, self._preferred):
            for name, offer in starters.items():
                self._lights_of(name).start.not_before(offer.since, _asked_first(offer.attempt))
        else:
            told = self._teller.attempts(each.attempt for each in offers)
            text = f"no calls without an answer can have started {', '.join(todo)} in their orders"
            self.told.append((Rule.PASSED_OVER, f"{text}: {told}."))

    def _contradiction(
        self, preferred: "list[_Preferred]", given: "dict[str, _Offer]"
    ) -> Told | None:
        """Return what is wrong if each avatar was started before those that it was preferred to."""
        before: dict[str, list[str]] = {name: [] for name in given}
        for each in preferred:
            before.setdefault(each.name, []).append(each.better)
        try:
            names = list(graphlib.TopologicalSorter(before).static_order())
        except graphlib.CycleError as error:
            circle = error.args[1]
            told = self._teller.attempts(each.attempt for each in preferred if each.name in circle)
            text = f"each of {', '.join(circle[1:])} was started before the others: {told}."
            return Rule.PASSED_OVER, text
        late: dict[str, Event] = {}
        for name in names:
            lights = self._lights_of(name)
            own = lights.start.copy()
            if name in given:
                own.not_before(given[name].since, _asked_first(given[name].attempt))
            events = [own, *(late[better] for better in before.get(name, ()))]
            late[name] = max(events, key=lambda each: each.earliest)
            found = Contradiction(late[name], lights.deadline(0))
            if found.late.earliest > found.early.latest:
                return found.rule, found.tell(self._teller)
        return None

    def _deadline(self, name: str, end: Event) -> float:
        """Return when an avatar had to be started."""
        return min(self._lights_of(name).deadline(0).latest, end.latest)

    def _offers(self) -> Iterator["_Offer"]:
        """Yield what requests without an answer can have started."""
        for request in self._requests:
            if request.is_unanswered:
                taken = request.refused_with(AVATARS_TAKEN)
                names = {name for each in taken for name in each.call.order or avatars.NAMES}
                for what in dict.fromkeys(asked(each.call) for each in request.unknown):
                    first = request.first_sent(what)
                    since = max(each.sent for each in (first, *taken))
                    yield _Offer(request, first, since, frozenset(names))


class _Preferred(NamedTuple):
    """An attempt that got the avatar `name`, or would have, tried the `better` one before."""

    better: str
    name: str
    attempt: Attempt


class _Offer(NamedTuple):
    """An avatar that a request without an answer can have started, from a time on.

    It can't have started one of those that were `taken` while it had none.
    """

    request: Request
    attempt: Attempt
    since: float
    taken: frozenset[str]

    def fits(self, name: str) -> bool:
        """Say whether it can have started this avatar."""
        return name in (self.attempt.call.order or avatars.NAMES) and name not in self.taken


def _asked_first(attempt: Attempt) -> Why:
    return Why(Rule.ORDER, "nobody else asked for it before", attempt)


def _better(order: tuple[str, ...], name: str) -> tuple[str, ...]:
    """Return the avatars that an order prefers to one of them."""
    return order[: order.index(name)] if order else ()
