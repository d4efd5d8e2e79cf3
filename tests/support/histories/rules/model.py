"""The storer that histories are compared with: one kata of a single storer that never fails.

It does one call after the other. This is what storer.proto promises of the calls, as a function of
a kata's state; the rules beside this module are derived from it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from dojo import avatars
from support.histories.attempts import (
    AVATARS_TAKEN,
    NO_SUCH_AVATAR,
    NO_SUCH_KATA,
    REQUEST_ID_REUSED,
    STALE_NUMBER,
    Answer,
    Attempt,
    Call,
    Kind,
    Outcome,
    Reading,
    Seen,
)

# The refusals of each call that tell something of the kata. Any other, such as MALFORMED_FIELD,
# says only that the call was not done.
REFUSALS: Mapping[Kind, tuple[str, ...]] = {
    Kind.CREATE_KATA: (REQUEST_ID_REUSED,),
    Kind.START_AVATAR: (NO_SUCH_KATA, AVATARS_TAKEN, REQUEST_ID_REUSED),
    Kind.RECORD_TEST: (NO_SUCH_KATA, NO_SUCH_AVATAR, STALE_NUMBER, REQUEST_ID_REUSED),
    Kind.DELETE_KATA: (NO_SUCH_KATA,),
    Kind.READ: (NO_SUCH_KATA, NO_SUCH_AVATAR),
}
TELLING = {reason for reasons in REFUSALS.values() for reason in reasons}


class Light(NamedTuple):
    """A light, and what of its request makes a repeated one equal."""

    request_id: str
    content: str
    expected: int | None


class Avatar(NamedTuple):
    """A started avatar, and what of its request makes a repeated one equal."""

    request_id: str
    order: tuple[str, ...]
    lights: tuple[Light, ...] = ()


@dataclass(frozen=True, slots=True)
class Kata:
    """A kata that there is: what it was created by and from, and its avatars by their names."""

    kata_id: str
    request_id: str
    content: str
    avatars: tuple[tuple[str, Avatar], ...] = ()


# None: there is no such kata.
State = Kata | None


class Result(NamedTuple):
    """How a call ends."""

    outcome: Outcome
    answer: Answer = None
    reason: str = ""
    newest: int | None = None


class Step(NamedTuple):
    """What a call comes to: how it ends, and the state of the kata after it."""

    result: Result
    state: State


def steps(state: State, call: Call, kata_id: str) -> Iterator[Step]:
    """Yield all that a call about the kata `kata_id` can come to.

    There is more than one for a StartAvatar without an order. A CreateKata is the one from whose
    request this kata's id follows. A read is a part of one, as `parts` makes them.
    """
    if call.kind is Kind.CREATE_KATA:
        yield _create(state, call, kata_id)
    elif state is None:
        yield Step(_refusal(NO_SUCH_KATA), None)
    elif call.kind is Kind.DELETE_KATA:
        yield Step(Result(Outcome.ACKNOWLEDGED), None)
    elif call.kind is Kind.START_AVATAR:
        yield from _start(state, call)
    elif call.kind is Kind.RECORD_TEST:
        yield _record(state, call)
    else:
        yield Step(_read(state, call), state)


def explains(result: Result, attempt: Attempt) -> bool:
    """Say whether a client can have taken a result for what an attempt ended with."""
    if attempt.outcome is Outcome.UNKNOWN:
        return True
    if result.outcome is not attempt.outcome:
        return False
    if attempt.is_refused:
        return (result.reason, result.newest) == (attempt.reason, attempt.newest)
    if not isinstance(attempt.answer, Reading):
        return result.answer == attempt.answer
    return isinstance(result.answer, Reading) and _shows(result.answer, attempt.answer)


def parts(attempt: Attempt, names: Iterable[str]) -> Iterator[Attempt]:
    """Yield an attempt; a read of a kata as a read of each of these avatars and of the kata alone.

    A read of all avatars looks at one after the other, so it promises no more than these do. An
    avatar that it did not show was not started then.
    """
    answer = attempt.answer
    if attempt.call.avatar or not isinstance(answer, Reading):
        yield attempt
        return
    alone = Reading({}, answer.content, answer.damaged)
    yield replace(attempt, answer=alone)
    for name in sorted({*names, *answer.avatars}):
        of_one = replace(attempt, call=replace(attempt.call, avatar=name))
        if name in answer.avatars:
            yield replace(of_one, answer=Reading({name: answer.avatars[name]}))
        else:
            yield replace(of_one, outcome=Outcome.REFUSED, reason=NO_SUCH_AVATAR, answer=None)


def _shows(whole: Reading, read: Reading) -> bool:
    """Say whether a read shows what there is, as far as it looked."""
    if read.damaged or read.content not in {"", whole.content}:
        return False
    return whole.avatars.keys() == read.avatars.keys() and all(
        not seen.irregular
        and seen.newest == whole.avatars[name].newest
        and all(
            whole.avatars[name].contents.get(number) == content
            for number, content in seen.contents.items()
            if content
        )
        for name, seen in read.avatars.items()
    )


def _refusal(reason: str, newest: int | None = None) -> Result:
    return Result(Outcome.REFUSED, None, reason, newest)


def _create(state: State, call: Call, kata_id: str) -> Step:
    created = Result(Outcome.ACKNOWLEDGED, kata_id)
    if state is None:
        return Step(created, Kata(kata_id, call.request_id, call.content))
    # Without a request id each call makes another kata.
    is_repeated = call.request_id != "" and call.content == state.content
    return Step(created if is_repeated else _refusal(REQUEST_ID_REUSED), state)


def _start(state: Kata, call: Call) -> Iterator[Step]:
    taken = dict(state.avatars)
    for name, avatar in state.avatars:
        if call.request_id and avatar.request_id == call.request_id:
            is_repeated = avatar.order == call.order
            before = Result(Outcome.ACKNOWLEDGED, name)
            yield Step(before if is_repeated else _refusal(REQUEST_ID_REUSED), state)
            return
    free = [name for name in call.order or avatars.NAMES if name not in taken]
    if not free:
        yield Step(_refusal(AVATARS_TAKEN), state)
    for name in free[:1] if call.order else free:
        started = (*state.avatars, (name, Avatar(call.request_id, call.order)))
        after = replace(state, avatars=tuple(sorted(started)))
        yield Step(Result(Outcome.ACKNOWLEDGED, name), after)


def _record(state: Kata, call: Call) -> Step:
    taken = dict(state.avatars)
    avatar = taken.get(call.avatar)
    if avatar is None:
        return Step(_refusal(NO_SUCH_AVATAR), state)
    light = Light(call.request_id, call.content, call.expected)
    for number, each in enumerate(avatar.lights, 1):
        if call.request_id and each.request_id == call.request_id:
            recorded = Result(Outcome.ACKNOWLEDGED, number)
            return Step(recorded if each == light else _refusal(REQUEST_ID_REUSED), state)
    newest = len(avatar.lights)
    if call.expected not in {None, newest + 1}:
        return Step(_refusal(STALE_NUMBER, newest), state)
    taken[call.avatar] = avatar._replace(lights=(*avatar.lights, light))
    result = Result(Outcome.ACKNOWLEDGED, newest + 1)
    return Step(result, replace(state, avatars=tuple(sorted(taken.items()))))


def _read(state: Kata, call: Call) -> Result:
    if not call.avatar:
        return Result(Outcome.ACKNOWLEDGED, Reading({}, state.content))
    avatar = dict(state.avatars).get(call.avatar)
    if avatar is None:
        return _refusal(NO_SUCH_AVATAR)
    return Result(Outcome.ACKNOWLEDGED, Reading({call.avatar: seen(avatar)}))


def seen(avatar: Avatar) -> Seen:
    """Return what a read of all its lights shows of an avatar."""
    contents = {number: light.content for number, light in enumerate(avatar.lights, 1)}
    return Seen(len(avatar.lights), contents)
