"""Simulates clients of one storer that never fails, whose answers get lost and whose calls linger.

The histories that come of it are right by construction: each call is done at one moment, by
`rules.model`, between its sending and its end; or later or never, if it ended without an answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from support.histories.attempts import (
    Attempt,
    Call,
    Kind,
    Outcome,
    Reading,
    create_kata,
    delete_kata,
    read,
    record_test,
    start_avatar,
)
from support.histories.rules import model
from support.histories.rules.model import Result, State


@dataclass(frozen=True, slots=True)
class Habits:
    """What the clients do. Each of `calls` names a kind of call as often as it is to be chosen.

    The first `started` of the avatars' `names` are started in a kata before all else. `lost` is how
    likely a call ends without its answer, `again` how likely a client sends an earlier call again,
    `lingering` how likely the storer does what nobody waits for any more instead of something else.
    `stale_reads` show moments before they were sent.
    """

    clients: int = 3
    calls: Sequence[Kind] = (
        Kind.CREATE_KATA,
        *[Kind.START_AVATAR] * 3,
        *[Kind.RECORD_TEST] * 9,
        Kind.DELETE_KATA,
        *[Kind.READ] * 3,
    )
    katas: int = 1
    names: Sequence[str] = ("bat", "bee", "owl")
    started: int = 0
    lost: float = 0.3
    again: float = 0.3
    lingering: float = 0.2
    stale_reads: bool = False


@dataclass(slots=True, eq=False)
class _Sent:
    """A call on its way. `result` is how the storer ended it, once it has done it."""

    call: Call
    client: str
    sent: float
    number: int
    result: Result | None = None


@dataclass(slots=True)
class History:
    """What clients did, and what there was in the end."""

    attempts: list[Attempt] = field(default_factory=list)
    final: list[Attempt] = field(default_factory=list)


def play(random: Random, count: int, habits: Habits = Habits()) -> History:
    """Return the history of `count` attempts."""
    simulation = _Simulation(random, habits)
    while simulation.count < count:
        simulation.go_on()
    return simulation.end()


class _Simulation:
    """The storer and its clients."""

    def __init__(self, random: Random, habits: Habits) -> None:
        self._random = random
        self._habits = habits
        self._now = 0.0
        self._katas: dict[str, list[State]] = {}  # the states that each one had, by its id
        self._known: list[str] = []  # the ids that clients were told
        self._made: list[list[Call]] = [[] for _ in range(habits.clients)]
        self._going: dict[int, _Sent] = {}
        self._lingering: list[_Sent] = []
        self._history = History()
        self.count = 0  # of the calls that were sent
        if habits.started:
            self._prepare(habits.names[: habits.started])

    def go_on(self) -> None:
        """Let one thing happen."""
        self._now += self._random.choice((0, 1, 1, 2))
        if self._lingering and self._chance(self._habits.lingering):
            self._do(self._lingering.pop(self._random.randrange(len(self._lingering))))
            return
        client = self._random.randrange(self._habits.clients)
        sent = self._going.get(client)
        if sent is None:
            self._send(client)
        elif self._chance(self._habits.lost / 2):
            self._lose(client, sent)
        elif sent.result is None:
            self._do(sent)
        else:
            self._answer(client, sent)

    def end(self) -> History:
        """Let all calls end, and read what there is."""
        while self._going:
            client, sent = next(iter(self._going.items()))
            self._now += 1
            if sent.result is None and self._chance(self._habits.lost):
                self._lose(client, sent)
            elif sent.result is None:
                self._do(sent)
            else:
                self._answer(client, sent)
        for kata_id in sorted({*self._known, *self._katas}):
            self._now += 1
            state = self._katas.get(kata_id, [None])[-1]
            result = _read_all(state)
            self._history.final.append(_attempt(read(kata_id), "", self._now, self._now, result))
        while self._lingering and self._chance(0.5):
            self._do(self._lingering.pop())  # it is not seen any more
        return self._history

    def _prepare(self, names: Sequence[str]) -> None:
        """Create a kata and start these avatars."""
        self._take(create_kata("at first", "first"))
        for name in names:
            self._take(start_avatar(self._known[0], (name,)))

    def _take(self, call: Call) -> None:
        """Let a client make a call while nobody does anything else."""
        sent = self._going[0] = _Sent(call, "0", self._now, self.count)
        self._do(sent)
        self._now += 1
        self._answer(0, sent)
        self._now += 1

    def _send(self, client: int) -> None:
        made = self._made[client]
        is_again = bool(made) and self._chance(self._habits.again)
        call = self._random.choice(made) if is_again else self._new_call()
        made.append(call)
        self._going[client] = _Sent(call, str(client), self._now, self.count)
        self.count += 1

    def _new_call(self) -> Call:
        kind = self._random.choice(self._habits.calls)
        number = f"r{self.count}"
        request_id = number if self._chance(0.85) else ""
        if not self._known or (kind is Kind.CREATE_KATA and len(self._known) < self._habits.katas):
            return create_kata(f"of {number}", request_id)
        kata_id = self._random.choice(self._known)
        name = self._random.choice(self._habits.names)
        if kind is Kind.START_AVATAR:
            most = self._random.randint(1, len(self._habits.names))
            order = tuple(self._random.sample(self._habits.names, most))
            return start_avatar(kata_id, () if self._chance(0.1) else order, request_id)
        if kind is Kind.DELETE_KATA:
            return delete_kata(kata_id)
        if kind is Kind.READ:
            return read(kata_id, name if self._chance(0.6) else "")
        state = self._katas[kata_id][-1]
        avatars = {} if state is None else dict(state.avatars)
        if avatars and self._chance(0.8):
            name = self._random.choice(sorted(avatars))
        newest = len(avatars[name].lights) if name in avatars else 0
        expected = self._random.choice((None, newest, newest + 1, newest + 1, newest + 2)) or None
        return record_test(kata_id, name, number, request_id, expected)

    def _do(self, sent: _Sent) -> None:
        """Let the storer do a call."""
        call = sent.call
        kata_id = call.kata
        if call.kind is Kind.CREATE_KATA:
            kata_id = f"K{call.request_id or sent.number}"
        states = self._katas.setdefault(kata_id, [None])
        state = states[-1]
        if call.kind is Kind.READ:
            if self._habits.stale_reads:
                state = self._random.choice(states)
            sent.result = self._read(state, call)
        else:
            step = self._random.choice(list(model.steps(state, call, kata_id)))
            sent.result = step.result
            states.append(step.state)

    def _read(self, state: State, call: Call) -> Result:
        if not call.avatar:
            return _read_all(state)
        (step,) = model.steps(state, call, call.kata)
        return step.result

    def _answer(self, client: int, sent: _Sent) -> None:
        assert sent.result is not None
        del self._going[client]
        self._end(sent, sent.result)
        answer = sent.result.answer
        if sent.call.kind is Kind.CREATE_KATA and isinstance(answer, str):
            self._known += [answer] if answer not in self._known else []

    def _lose(self, client: int, sent: _Sent) -> None:
        del self._going[client]
        if sent.result is None:
            self._lingering.append(sent)
        self._end(sent, Result(Outcome.UNKNOWN, None, "UNAVAILABLE"))

    def _end(self, sent: _Sent, result: Result) -> None:
        ended = self._now
        self._history.attempts.append(_attempt(sent.call, sent.client, sent.sent, ended, result))

    def _chance(self, probability: float) -> bool:
        return self._random.random() < probability


def _attempt(call: Call, client: str, sent: float, ended: float, result: Result) -> Attempt:
    outcome, answer, reason, newest = result
    return Attempt(call, sent, ended, outcome, answer, reason, newest, client)


def _read_all(state: State) -> Result:
    """Return how a read of a whole kata ends."""
    if state is None:
        return Result(Outcome.REFUSED, None, "NO_SUCH_KATA")
    shown = {name: model.seen(avatar) for name, avatar in state.avatars}
    return Result(Outcome.ACKNOWLEDGED, Reading(shown, state.content))
