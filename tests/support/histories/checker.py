"""Judges whether a single storer that never fails could have given all the answers of a history.

That is linearizability: there is an order of all calls in which one storer, doing one after the
other, gives just these answers; a call that ended before another one was sent comes before it; a
call of an unknown outcome is in it once, anywhere after its sending, or not at all; and what was
read in the end is what there is then. `rules.model` is that storer. Katas do not depend on each
other, so each is judged alone: calls about several things can be put in one order if and only if
those about each can (Herlihy and Wing, "Linearizability", 1990).

What is judged, each with a rule of its name in `rules.findings`: what was acknowledged is there,
once, with its number and its content; numbers have no gaps; an avatar, and a number, belong to one
request; what was refused did not happen; what is there was asked for; a request that is sent again
gets the same answer; what ended before something else was sent comes before it; a kata, or an
avatar, is not found, a number is stale, and avatars are taken only where that may have been so at
some time between sending and end; what was deleted stays away unless it was created again; and a
read shows what was acknowledged before it was sent.

Why the rules are enough. What happened in a kata that was created once at most has a known order:
its creation, the start of each avatar, the avatar's lights by their numbers, its deletion. Each
answer says of some of these events that they had happened when the call ended, of others that they
had not when it was sent, and nothing else (`rules.lights`, `rules.starts`, `rules.katas`). Events
in a known order can be given times if and only if none has to be later than one that follows it may
be (`rules.events`); and then each call has a moment at which its answer was true. Two things are
not said by answers: which request made a light that nobody was told of, which is a matching; and
which StartAvatar without an answer started which avatar, which is searched for.

A kata can have been created twice if it was deleted, and a CreateKata of its request was sent again
or has no answer. The same rules are tried first: if they find nothing, all is well. Else
`rules.search` looks for an order with several lives of the kata.

Both searches are exact, and end after a number of steps. If one has found nothing by then, the
history is undecided, and the verdict says why.

What is not judged: what a light has besides its content; edits, options, forks, archives, backups;
whether a read sees several avatars at one moment, as the storer promises none. Of requests with one
id and different contents, REQUEST_ID_REUSED is judged by whether another one may have been done,
and not by which. A history has to have all calls about its katas, from their CreateKata on, each
sent once: gRPC's own retries have to be off.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from support.histories import history_file
from support.histories.attempts import REQUEST_ID_REUSED, Attempt, Kind, check_attempt
from support.histories.rules import model, search
from support.histories.rules.findings import Finding, Rule, Teller
from support.histories.rules.katas import Kata
from support.histories.rules.matching import match
from support.histories.rules.requests import Request, grouped


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with a history, and what could not be found out about it."""

    findings: tuple[Finding, ...]
    undecided: tuple[str, ...] = ()

    @property
    def is_right(self) -> bool:
        """Whether a single storer could have given these answers."""
        return not self.findings and not self.undecided

    def __str__(self) -> str:
        """Return a line for each of them."""
        lines = [*map(str, self.findings), *(f"undecided: {each}" for each in self.undecided)]
        return "\n".join(lines) or "nothing is wrong"


def judge(
    attempts: Iterable[Attempt], final: Iterable[Attempt] = (), *, stale_reads: bool = False
) -> Verdict:
    """Judge a history, and what was read of its katas in the end.

    With `stale_reads`, a read during the history may show a moment before it was sent, as that of a
    machine that is cut off; what it shows has to have been there all the same. Those in the end may
    not. Raises ValueError for an attempt that can't be.
    """
    return _Judge([*attempts], [*final], stale_reads=stale_reads).judge()


def check(
    path: Path,
    attempts: Iterable[Attempt],
    final: Iterable[Attempt],
    *,
    stale_reads: bool = False,
) -> None:
    """Fail a test unless its history is right; it is written to a file first, whose path is told.

    `python -m support.histories FILE` judges it again.
    """
    made, read = [*attempts], [*final]
    history_file.write(path, made, read)
    verdict = judge(made, read, stale_reads=stale_reads)
    assert verdict.is_right, f"the history in {path} is not right:\n{verdict}"


class _Judge:
    """Judges one history."""

    def __init__(self, attempts: list[Attempt], final: list[Attempt], *, stale_reads: bool) -> None:
        for each in [*attempts, *final]:
            check_attempt(each)
        self._teller = Teller([*attempts, *final])
        self._stale_reads = stale_reads
        self._findings: list[Finding] = []
        self._undecided: list[str] = []
        self._creations = grouped(attempts, Kind.CREATE_KATA)
        self._attempts = _by_kata(attempts)
        self._final = _by_kata(final)

    def judge(self) -> Verdict:
        """Return the verdict."""
        creators: dict[str, list[Request]] = {}
        for request in self._creations:
            for answer in dict.fromkeys(str(each.answer) for each in request.acknowledged):
                creators.setdefault(answer, []).append(request)
        ids = dict.fromkeys([*self._attempts, *self._final, *creators])
        katas = {
            each: Kata(
                self._attempts.get(each, []),
                self._final.get(each, []),
                self._teller,
                stale_reads=self._stale_reads,
            )
            for each in ids
        }
        unanswered = [each for each in self._creations if each.is_unanswered]
        extra = {
            each: [request for request in unanswered if kata.can_be_of(request)]
            for each, kata in katas.items()
            if kata.is_known and each not in creators
        }
        found = match(extra)
        for kata_id, kata in katas.items():
            requests = creators.get(kata_id, [])
            if len(requests) > 1:
                told = self._teller.attempts(each.acknowledged[0] for each in requests)
                self._find(Rule.ONE_KATA, kata_id, f"several requests got this kata: {told}.")
            request = requests[0] if requests else found.get(kata_id, Request())
            self._judge_kata(kata_id, kata, request)
        created = {*found.values(), *(each for those in creators.values() for each in those)}
        self._judge_refused([each for each in self._creations if each not in created])
        return Verdict(tuple(self._findings), tuple(self._undecided))

    def _judge_kata(self, kata_id: str, kata: Kata, request: Request) -> None:
        kata.judge(request)
        self._undecided += [f"kata {kata_id}: {each}." for each in kata.undecided]
        attempts = [*self._attempts.get(kata_id, []), *request.acknowledged, *request.unknown]
        if kata.told and _may_live_again(attempts):
            try:
                is_right = search.is_possible(kata_id, self._parts(kata_id, kata, request))
            except search.GaveUp:
                text = " ".join(text for _, text in kata.told[:3])
                unless = (
                    "That is wrong unless the kata was created again, which takes too many steps"
                )
                self._undecided.append(f"kata {kata_id}: {text} {unless}.")
                return
            if is_right:
                return
        for rule, text in kata.told:
            self._find(rule, kata_id, text)

    def _judge_refused(self, requests: list[Request]) -> None:
        """Judge the refusals of requests that created no kata, as far as anybody was told."""
        for request in requests:
            for attempt in request.refused_with(REQUEST_ID_REUSED):
                if request.reused_by(attempt) is None:
                    text = f"no other request has this id: {self._teller.attempt(attempt)}."
                    self._find(Rule.REUSED, attempt.call.kata, text)

    def _parts(self, kata_id: str, kata: Kata, request: Request) -> list[Attempt]:
        """Return all attempts about a kata as the search takes them."""
        attempts = [*request.acknowledged, *request.refused, *request.unknown]
        for each in self._attempts.get(kata_id, []):
            is_stale = self._stale_reads and each.call.kind is Kind.READ
            attempts.append(replace(each, sent=-math.inf) if is_stale else each)
        attempts += self._final.get(kata_id, [])
        return [part for each in attempts for part in model.parts(each, kata.names)]

    def _find(self, rule: Rule, kata_id: str, text: str) -> None:
        self._findings.append(Finding(rule, kata_id, text))


def _may_live_again(attempts: list[Attempt]) -> bool:
    """Say whether a kata can have been created, deleted and created again."""
    done = [each for each in attempts if not each.is_refused]
    created = [each for each in done if each.call.kind is Kind.CREATE_KATA]
    deleted = [each.sent for each in done if each.call.kind is Kind.DELETE_KATA]
    return (
        len(created) > 1 and bool(deleted) and max(each.latest for each in created) >= min(deleted)
    )


def _by_kata(attempts: Iterable[Attempt]) -> dict[str, list[Attempt]]:
    found: dict[str, list[Attempt]] = {}
    for each in attempts:
        if each.call.kind is not Kind.CREATE_KATA:
            found.setdefault(each.call.kata, []).append(each)
    return found
