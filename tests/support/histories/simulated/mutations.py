"""Changes of a right history, as a storer that loses, doubles or mixes up things would make them.

Each takes a source of random numbers and a history, and returns another history, or None if there
is nothing to change. The other one can be right too: a light that nobody was told of may be
missing, calls that overlap may come in another order, and what was sent without an answer may have
been done, so that a deleted kata may be there again. `exhaustive` decides which are.
"""

from collections.abc import Callable
from dataclasses import replace
from random import Random

from support.histories.attempts import (
    NO_SUCH_AVATAR,
    NO_SUCH_KATA,
    STALE_NUMBER,
    Attempt,
    Kind,
    Outcome,
    Reading,
    Seen,
)
from support.histories.rules import model
from support.histories.simulated.clients import History

Mutation = Callable[[Random, History], History | None]


def lose_a_light(random: Random, history: History) -> History | None:
    """In the end a light is not there, and those after it have smaller numbers."""
    return _change_lights(random, history, lambda lights: lights.pop(random.randrange(len(lights))))


def swap_lights(random: Random, history: History) -> History | None:
    """In the end two lights have each other's numbers."""

    def swap(lights: list[str]) -> None:
        one, other = random.randrange(len(lights)), random.randrange(len(lights))
        lights[one], lights[other] = lights[other], lights[one]

    return _change_lights(random, history, swap)


def double_a_light(random: Random, history: History) -> History | None:
    """In the end a light is there twice."""

    def double(lights: list[str]) -> None:
        lights.insert(random.randint(0, len(lights)), random.choice(lights))

    return _change_lights(random, history, double)


def change_a_light(random: Random, history: History) -> History | None:
    """In the end a light is one that was recorded for anybody, or by nobody."""
    contents = [each.call.content for each in history.attempts if each.call.content]

    def change(lights: list[str]) -> None:
        lights[random.randrange(len(lights))] = random.choice([*contents, "of nobody"])

    return _change_lights(random, history, change)


def lose_an_avatar(random: Random, history: History) -> History | None:
    """In the end an avatar is not there."""

    def lose(reading: Reading) -> Reading | None:
        if not reading.avatars:
            return None
        lost = random.choice(sorted(reading.avatars))
        kept = {name: seen for name, seen in reading.avatars.items() if name != lost}
        return replace(reading, avatars=kept)

    return _change_end(random, history, lose)


def lose_a_kata(random: Random, history: History) -> History | None:
    """In the end a kata is not there."""
    there = [each for each in history.final if each.is_acknowledged]
    if not there:
        return None
    lost = random.choice(there)
    gone = replace(lost, outcome=Outcome.REFUSED, answer=None, reason=NO_SUCH_KATA)
    return History(history.attempts, _replaced(history.final, lost, gone))


def resurrect_a_kata(random: Random, history: History) -> History | None:
    """In the end a kata is there as a read showed it before, or as if it was just created."""
    gone = [each for each in history.final if each.is_refused]
    if not gone:
        return None
    lost = random.choice(gone)
    before = [
        each.answer
        for each in history.attempts
        if isinstance(each.answer, Reading) and each.call == lost.call
    ]
    shown = random.choice([Reading({}), *before])
    there = replace(lost, outcome=Outcome.ACKNOWLEDGED, answer=shown, reason="")
    return History(history.attempts, _replaced(history.final, lost, there))


def give_an_avatar_twice(random: Random, history: History) -> History | None:
    """A StartAvatar gets the avatar that another one got."""
    return _swap_answers(random, history, Kind.START_AVATAR)


def give_a_number_twice(random: Random, history: History) -> History | None:
    """A RecordTest gets the number that another one got, for whichever avatar."""
    return _swap_answers(random, history, Kind.RECORD_TEST)


def give_a_kata_twice(random: Random, history: History) -> History | None:
    """A CreateKata gets the kata that another one got."""
    return _swap_answers(random, history, Kind.CREATE_KATA)


def read_another_number(random: Random, history: History) -> History | None:
    """A read shows a light less, or one more."""
    reads = [
        each
        for each in history.attempts
        if isinstance(each.answer, Reading) and each.answer.avatars
    ]
    if not reads:
        return None
    read = random.choice(reads)
    assert isinstance(read.answer, Reading)
    name = random.choice(sorted(read.answer.avatars))
    newest = max(0, read.answer.avatars[name].newest + random.choice((-1, 1)))
    avatars = {**read.answer.avatars, name: Seen(newest)}
    changed = replace(read, answer=replace(read.answer, avatars=avatars))
    return History(_replaced(history.attempts, read, changed), history.final)


def refuse(random: Random, history: History) -> History | None:
    """A call is refused that was not, or is for another reason."""
    attempt = _any(random, history)
    if attempt is None:
        return None
    reason = random.choice((*model.REFUSALS[attempt.call.kind], "MALFORMED_FIELD"))
    if reason == NO_SUCH_AVATAR and not attempt.call.avatar:
        return None
    newest = random.randint(0, 3) if reason == STALE_NUMBER else None
    refused = replace(attempt, outcome=Outcome.REFUSED, answer=None, reason=reason, newest=newest)
    return History(_replaced(history.attempts, attempt, refused), history.final)


def lose_an_answer(random: Random, history: History) -> History | None:
    """An answer did not come."""
    attempt = _any(random, history)
    if attempt is None:
        return None
    unknown = replace(attempt, outcome=Outcome.UNKNOWN, answer=None, reason="", newest=None)
    return History(_replaced(history.attempts, attempt, unknown), history.final)


def acknowledge(random: Random, history: History) -> History | None:
    """A call gets an answer, or another one."""
    attempt = _any(random, history)
    if attempt is None:
        return None
    names = [name for each in history.attempts for name in each.call.order]
    if attempt.call.kind is Kind.READ or not names:
        return None
    answers = {
        Kind.CREATE_KATA: attempt.answer or "KX",
        Kind.START_AVATAR: random.choice(names),
        Kind.RECORD_TEST: random.randint(1, 4),
        Kind.DELETE_KATA: None,
    }
    answered = replace(
        attempt,
        outcome=Outcome.ACKNOWLEDGED,
        answer=answers[attempt.call.kind],
        reason="",
        newest=None,
    )
    return History(_replaced(history.attempts, attempt, answered), history.final)


def forget_a_call(random: Random, history: History) -> History | None:
    """Nobody made a call."""
    attempt = _any(random, history)
    if attempt is None:
        return None
    return History([each for each in history.attempts if each is not attempt], history.final)


def move_a_call(random: Random, history: History) -> History | None:
    """A call was made earlier or later."""
    attempt = _any(random, history)
    if attempt is None:
        return None
    by = random.choice((-9, -6, -3, -1, 1, 3, 6, 9))
    moved = replace(attempt, sent=attempt.sent + by, ended=attempt.ended + by)
    return History(_replaced(history.attempts, attempt, moved), history.final)


def share_a_request(random: Random, history: History) -> History | None:
    """A call has the request id of another one."""
    calls = [each for each in history.attempts if each.call.kind is not Kind.CREATE_KATA]
    if not calls:
        return None
    attempt = random.choice(calls)
    call = replace(attempt.call, request_id=random.choice(calls).call.request_id)
    shared = replace(attempt, call=call)
    return History(_replaced(history.attempts, attempt, shared), history.final)


ALL: tuple[Mutation, ...] = (
    lose_a_light,
    swap_lights,
    double_a_light,
    change_a_light,
    lose_an_avatar,
    lose_a_kata,
    resurrect_a_kata,
    give_an_avatar_twice,
    give_a_number_twice,
    give_a_kata_twice,
    read_another_number,
    refuse,
    lose_an_answer,
    acknowledge,
    forget_a_call,
    move_a_call,
    share_a_request,
)


def _any(random: Random, history: History) -> Attempt | None:
    return random.choice(history.attempts) if history.attempts else None


def _change_end(
    random: Random, history: History, change: Callable[[Reading], Reading | None]
) -> History | None:
    """Change what was read of a kata in the end."""
    there = [each for each in history.final if isinstance(each.answer, Reading)]
    if not there:
        return None
    read = random.choice(there)
    assert isinstance(read.answer, Reading)
    changed = change(read.answer)
    if changed is None:
        return None
    other = replace(read, answer=changed)
    return History(history.attempts, _replaced(history.final, read, other))


def _change_lights(
    random: Random, history: History, change: Callable[[list[str]], object]
) -> History | None:
    """Change the lights that an avatar has in the end."""

    def of_one(reading: Reading) -> Reading | None:
        names = [name for name, seen in sorted(reading.avatars.items()) if seen.newest]
        if not names:
            return None
        name = random.choice(names)
        seen = reading.avatars[name]
        lights = [seen.contents[number] for number in range(1, seen.newest + 1)]
        change(lights)
        changed = Seen(len(lights), dict(enumerate(lights, 1)))
        return replace(reading, avatars={**reading.avatars, name: changed})

    return _change_end(random, history, of_one)


def _swap_answers(random: Random, history: History, kind: Kind) -> History | None:
    """Give a call the answer of another one."""
    calls = [each for each in history.attempts if each.call.kind is kind and each.is_acknowledged]
    if len(calls) < 2:
        return None
    one, other = random.sample(calls, 2)
    changed = replace(one, answer=other.answer)
    return History(_replaced(history.attempts, one, changed), history.final)


def _replaced(attempts: list[Attempt], old: Attempt, new: Attempt) -> list[Attempt]:
    return [new if each is old else each for each in attempts]
