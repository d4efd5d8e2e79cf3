"""Clients that use a storer in every way, and remember its answers.

Each client has katas of its own, and so knows their content; all clients share one more kata. A
kata's content is identified by the times of its lights: no two recorded lights have the same time.
"""

import itertools
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

import grpc

from cyberdojo.storer.v1 import storer_pb2
from dojo import avatars
from support.storer.storing import FILES, STARTED, Katas, a_test, timestamp

# The times of an avatar's lights, in seconds since 1970, the start's first; and between them those
# of its edits, less than 0.
Lights = tuple[int, ...]
# The avatars of a kata with their lights and edits, and by OPTIONS the options of the kata, as a
# number, if somebody has set them; None if there is no such kata.
State = Mapping[str, Lights] | None

OPTIONS = ""

_MOST_KATAS = 3
_MOST_AVATARS = 4
_LOST = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
_NUMBERS = itertools.count(1)
_START = int(STARTED.timestamp())


@dataclass
class Step:
    """A state that a call gives a kata, with the monotonic times of the request and the answer."""

    state: State
    sent: float
    answered: float = math.inf


def possible(steps: Iterable[Step], begin: float, end: float) -> list[State]:
    """Return the states that a kata can have if the storer ended between `begin` and `end`.

    A call that was answered before `begin` has happened; a call that was sent before `end` may
    have.
    """
    found: list[State] = []
    for step in steps:
        if step.answered <= begin:
            found.clear()
        if step.sent <= end:
            found.append(step.state)
    return found


@dataclass
class Shared:
    """The kata that all clients share, and the storer's answers about it. Any thread may use it."""

    kata_id: str
    started: list[tuple[str, float]] = field(default_factory=list)  # name, time of the answer
    lights: list[tuple[int, int, float]] = field(default_factory=list)  # number, time, of answer
    sent: list[int] = field(default_factory=list)  # the times of lights that may be recorded

    def check(self, katas: Katas, begin: float) -> None:
        """Check that all answers before `begin` hold, and that nothing happened twice."""
        names = [name for name, _ in self.started]
        assert len(names) == len(set(names)), "an avatar was given twice"
        assert {name for name, at in self.started if at <= begin} <= set(
            observe(katas, self.kata_id) or ()
        )
        lights = [light.time.seconds for light in katas.lights(self.kata_id, "whale")]
        assert len(lights) == len(set(lights)), "a test was recorded twice"
        assert set(lights[1:]) <= set(self.sent)
        for number, at, when in self.lights:
            assert when > begin or lights[number : number + 1] == [at], (number, at)

    def forget_after(self, begin: float) -> None:
        """Forget the answers after `begin`, because the disk went back to that moment."""
        self.started = [each for each in self.started if each[1] <= begin]
        self.lights = [each for each in self.lights if each[2] <= begin]


class Client:
    """A client that creates, starts, records, archives, restores and deletes, at random."""

    def __init__(self, seed: int, shared: Shared, imports: Mapping[str, State]) -> None:
        """Use `shared` and own katas; `imports` are the legacy katas that only it imports."""
        self._random = random.Random(seed)  # noqa: S311 - has to be the same each time
        self.shared = shared
        self.steps: dict[str, list[Step]] = {
            kata_id: [Step(state, -math.inf, -math.inf)] for kata_id, state in imports.items()
        }
        self._imports = dict(imports)
        self._tars: dict[str, tuple[bytes, State]] = {}
        self._unanswered: Callable[[Katas], None] | None = None
        self.given: list[str] = []  # the ids of the katas that it created
        self.calls: Counter[str] = Counter()  # the calls that were answered

    def play(self, katas: Katas, stopped: threading.Event | None = None) -> None:
        """Make calls until the storer is gone, or `stopped` is set."""
        with suppress(Gone):
            if self._unanswered is not None:
                retry, self._unanswered = self._unanswered, None
                retry(katas)
            while stopped is None or not stopped.is_set():
                self._call(katas)

    def _call(self, katas: Katas) -> None:
        own = [each for each, steps in self.steps.items() if steps[-1].state is not None]
        if len(own) < _MOST_KATAS:
            self._create(katas)
            return
        kata_id = self._random.choice(own)
        calls: list[Callable[[Katas, str], None]]
        calls = [self._start, self._record, self._edit, self._set_options, self._archive]
        calls += [self._restore, self._delete, self._fork]
        (call,) = self._random.choices(calls, [2, 12, 4, 2, 2, 1, 1, 1])
        if self._random.random() < 0.25:
            calls = [self._start_shared, self._record_shared]
            (call,) = self._random.choices(calls, [1, 4])
            call(katas, self.shared.kata_id)
        else:
            call(katas, kata_id)

    def finish(self, katas: Katas) -> None:
        """Make the call once more whose answer was lost, if there is one."""
        if self._unanswered is not None:
            self._unanswered(katas)

    def _create(self, katas: Katas) -> None:
        self._create_as(katas, self._request_id())

    def _create_as(self, katas: Katas, request_id: str) -> None:
        """Create a kata that may have been created."""
        self._unanswered = lambda katas: self._create_as(katas, request_id)
        sent = time.monotonic()
        with _losing():
            kata_id = katas.create(request_id=request_id)
        self._unanswered = None
        assert kata_id not in self.steps
        self.given.append(kata_id)
        self.steps[kata_id] = [
            Step(None, -math.inf, -math.inf),
            Step({}, sent, time.monotonic()),
        ]
        self._count("create")

    def _fork(self, katas: Katas, kata_id: str) -> None:
        """Fork one of the avatars, at one of its lights, if there are not too many katas."""
        state = self._state(kata_id)
        if (names := _avatars(state)) and len(self.existing()) <= _MOST_KATAS:
            name = self._random.choice(names)
            lights = state[name]
            at = self._random.choice([at for at in range(len(lights)) if lights[at] > 0])
            forked = {each: state[each] for each in (OPTIONS,) if each in state}
            forked[name] = lights[: at + 1]
            self._fork_as(katas, kata_id, name, forked, self._request_id())

    def _fork_as(
        self, katas: Katas, kata_id: str, name: str, forked: dict[str, Lights], request_id: str
    ) -> None:
        """Fork an avatar that may have been forked; the new kata has the state `forked` then."""
        self._unanswered = lambda katas: self._fork_as(katas, kata_id, name, forked, request_id)
        request = storer_pb2.ForkKataRequest(
            kata_id=kata_id,
            avatar=name,
            light_number=places_of(forked[name])[-1][0],
            request_id=request_id,
            with_avatar=True,
        )
        sent = time.monotonic()
        with _losing():
            fork_id = katas.stub.ForkKata(request).kata_id
        self._unanswered = None
        assert fork_id not in self.steps
        self.given.append(fork_id)
        self.steps[fork_id] = [
            Step(None, -math.inf, -math.inf),
            Step(forked, sent, time.monotonic()),
        ]
        self._count("fork")

    def _start(self, katas: Katas, kata_id: str) -> None:
        state = self._state(kata_id)
        free = [name for name in avatars.NAMES if name not in state]
        if len(_avatars(state)) >= _MOST_AVATARS:
            return
        name = self._random.choice(free)
        with self._stepping(kata_id, {**state, name: (_START,)}), _losing():
            assert katas.start(kata_id, name) == name
        self._count("start")

    def _record(self, katas: Katas, kata_id: str) -> None:
        state = self._state(kata_id)
        if not _avatars(state):
            self._start(katas, kata_id)
            return
        name = self._random.choice(_avatars(state))
        at = _START + next(_NUMBERS)
        self._record_as(katas, kata_id, name, at)

    def _record_as(self, katas: Katas, kata_id: str, name: str, at: int) -> None:
        """Record a test that may have been recorded."""
        state = self._state(kata_id)
        before = state[name]
        after = before if at in before else (*before, at)
        # Without an answer, the client sends the same request again.
        self._unanswered = lambda katas: self._record_as(katas, kata_id, name, at)
        with self._stepping(kata_id, {**state, name: after}), _losing():
            light = record(katas, kata_id, name, at)
        self._unanswered = None
        assert (light.number, light.time.seconds) == (places_of(after)[after.index(at)][0], at)
        self._count("record")

    def _edit(self, katas: Katas, kata_id: str) -> None:
        if names := _avatars(self._state(kata_id)):
            name = self._random.choice(names)
            self._edit_as(katas, kata_id, name, _START + next(_NUMBERS))

    def _edit_as(self, katas: Katas, kata_id: str, name: str, at: int) -> None:
        """Record an edit that may have been recorded."""
        state = self._state(kata_id)
        before = state[name]
        after = before if -at in before else (*before, -at)
        self._unanswered = lambda katas: self._edit_as(katas, kata_id, name, at)
        request = storer_pb2.RecordEditRequest(
            kata_id=kata_id,
            avatar=name,
            files=files_of(at),
            time=timestamp(STARTED + timedelta(seconds=at - _START)),
            request_id=str(at),
        )
        with self._stepping(kata_id, {**state, name: after}), _losing():
            edit = katas.stub.RecordEdit(request).edit
        self._unanswered = None
        place = (edit.light_number, edit.number)
        assert (place, edit.time.seconds) == (places_of(after)[after.index(-at)], at)
        self._count("edit")

    def _set_options(self, katas: Katas, kata_id: str) -> None:
        self._set_options_to(katas, kata_id, self._random.getrandbits(6))

    def _set_options_to(self, katas: Katas, kata_id: str, number: int) -> None:
        """Set all options of a kata, which may have been set."""
        self._unanswered = lambda katas: self._set_options_to(katas, kata_id, number)
        request = storer_pb2.SetOptionsRequest(kata_id=kata_id, options=_options(number))
        with self._stepping(kata_id, {**self._state(kata_id), OPTIONS: (number,)}), _losing():
            found = katas.stub.SetOptions(request).options
        self._unanswered = None
        assert found.kata == request.options
        self._count("options")

    def _archive(self, katas: Katas, kata_id: str) -> None:
        if self._random.random() < 0.2:
            with _losing():
                self._tars[kata_id] = katas.tar(kata_id), self._state(kata_id)
        with _losing(), suppress_refusal(grpc.StatusCode.NOT_FOUND):
            katas.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=kata_id))
            self._count("archive")

    def _restore(self, katas: Katas, kata_id: str) -> None:
        if kata_id not in self._tars:
            with _losing():
                self._tars[kata_id] = katas.tar(kata_id), self._state(kata_id)
        tar, state = self._tars[kata_id]
        with self._stepping(kata_id, state), _losing():
            katas.restore(tar, overwrite=True)
        self._count("restore")

    def _delete(self, katas: Katas, kata_id: str) -> None:
        deleting = self._stepping(kata_id, None)
        with deleting, _losing(), suppress_refusal(grpc.StatusCode.NOT_FOUND):
            katas.delete(kata_id)
            self._count("delete")
        self._tars.pop(kata_id, None)
        if kata_id in self._imports:  # the katas directory still has it
            with self._stepping(kata_id, self._imports[kata_id]), _losing():
                katas.import_(kata_id, undelete=True)
            self._count("import")

    def _start_shared(self, katas: Katas, kata_id: str) -> None:
        order = self._random.sample(avatars.NAMES, len(avatars.NAMES))
        self._start_shared_as(katas, kata_id, order, self._request_id())

    def _start_shared_as(
        self, katas: Katas, kata_id: str, order: list[str], request_id: str
    ) -> None:
        """Start an avatar that may have been started."""
        self._unanswered = lambda katas: self._start_shared_as(katas, kata_id, order, request_id)
        with _losing(), suppress_refusal(grpc.StatusCode.RESOURCE_EXHAUSTED):
            name = katas.start(kata_id, *order, request_id=request_id)
            self.shared.started.append((name, time.monotonic()))
            self._count("start")
        self._unanswered = None

    def _request_id(self) -> str:
        return f"{self._random.getrandbits(128):032x}"

    def _record_shared(self, katas: Katas, _: str) -> None:
        at = _START + next(_NUMBERS)
        self._record_shared_at(katas, at)

    def _record_shared_at(self, katas: Katas, at: int) -> None:
        self._unanswered = lambda katas: self._record_shared_at(katas, at)
        self.shared.sent.append(at)
        with _losing():
            light = record(katas, self.shared.kata_id, "whale", at)
        self.shared.lights.append((light.number, at, time.monotonic()))
        self._unanswered = None
        assert light.time.seconds == at
        self._count("record")

    def _state(self, kata_id: str) -> Mapping[str, Lights]:
        return self.steps[kata_id][-1].state or {}

    def _stepping(self, kata_id: str, state: State) -> "_Stepping":
        return _Stepping(self.steps[kata_id], state)

    def _count(self, what: str) -> None:
        self.calls[what] += 1

    def check(self, katas: Katas, begin: float, end: float) -> None:
        """Check that each kata has a state that is possible if the storer ended in between."""
        for kata_id, steps in self.steps.items():
            found = observe(katas, kata_id)
            assert found in possible(steps, begin, end), (kata_id, found, steps[-3:])

    def resume(self, katas: Katas) -> None:
        """Take the state of each kata from the storer, after a kill."""
        for kata_id, steps in self.steps.items():
            steps[:] = [Step(observe(katas, kata_id), -math.inf, -math.inf)]

    def existing(self) -> set[str]:
        """Return the ids of its katas that there are."""
        return {kata_id for kata_id, steps in self.steps.items() if steps[-1].state is not None}

    def check_files(self, katas: Katas) -> None:
        """Check that each light has the files that it was recorded with."""
        for kata_id, steps in self.steps.items():
            state = steps[-1].state or {}
            for name in _avatars(state):
                lights = state[name]
                for (number, minor), at in zip(places_of(lights), lights, strict=True):
                    if abs(at) > _START:
                        request = storer_pb2.GetFilesRequest(
                            kata_id=kata_id, avatar=name, light_number=number, edit_number=minor
                        )
                        files = dict(katas.stub.GetFiles(request).files)
                        assert files == files_of(abs(at)), (kata_id, name, number, minor)


class Gone(Exception):
    """The storer ended before it answered."""


class _Stepping:
    """A call that gives a kata another state, which it may have even if the call fails."""

    def __init__(self, steps: list[Step], state: State) -> None:
        self._steps = steps
        self._step = Step(state, time.monotonic())

    def __enter__(self) -> None:
        self._steps.append(self._step)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._step.answered = time.monotonic()


class _losing:  # noqa: N801 - used like a function
    """Raise Gone for the error of a call whose storer ended."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, grpc.RpcError) and error.code() in _LOST:
            raise Gone from error


class suppress_refusal:  # noqa: N801 - used like a function
    """Suppress the error of a call that is refused with this status."""

    def __init__(self, code: grpc.StatusCode) -> None:
        self._code = code

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        return isinstance(error, grpc.RpcError) and error.code() is self._code


def files_of(at: int) -> dict[str, bytes]:
    """Return the files of the light with this time."""
    return {**FILES, "hiker.c": b"int a = %d;\n" % at}


def record(katas: Katas, kata_id: str, name: str, at: int) -> storer_pb2.Light:
    """Record the light with this time, for the first time or again."""
    when = timestamp(STARTED + timedelta(seconds=at - _START))
    request = a_test(kata_id, name, files_of(at), time=when, request_id=str(at))
    return katas.stub.RecordTest(request).light


def observe(katas: Katas, kata_id: str) -> State:
    """Return the state of a kata."""
    try:
        request = storer_pb2.ListLightsRequest(kata_id=kata_id, with_edits=True)
        found = katas.stub.ListLights(request)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return None
        raise
    for each in found.avatars:
        assert [light.number for light in each.lights] == [*range(len(each.lights))]
    state = {each.avatar: _events(each) for each in found.avatars}
    options = katas.get(kata_id).options.kata
    numbers = [number for number in range(64) if _options(number) == options]
    return {**state, OPTIONS: tuple(numbers)} if numbers else state


def _avatars(state: Mapping[str, Lights]) -> list[str]:
    """Return the names of the avatars of a state."""
    return sorted(state.keys() - {OPTIONS})


def _options(number: int) -> storer_pb2.Options:
    """Return options that are all set, a bit of `number` for each."""
    bits = [bool(number >> place & 1) for place in range(6)]
    options = storer_pb2.Options(
        syntax_colour=bits[1],
        predict=bits[2],
        revert_red=bits[3],
        revert_amber=bits[4],
        revert_green=bits[5],
    )
    options.theme = storer_pb2.THEME_DARK if bits[0] else storer_pb2.THEME_LIGHT
    return options


def _events(found: storer_pb2.AvatarLights) -> Lights:
    """Return the times of an avatar's lights and edits."""
    events = [((light.number, 0), light.time.seconds) for light in found.lights]
    events += [((edit.light_number, edit.number), -edit.time.seconds) for edit in found.edits]
    events.sort()
    times = tuple(time for _, time in events)
    assert [place for place, _ in events] == places_of(times)
    return times


def places_of(lights: Lights) -> list[tuple[int, int]]:
    """Return the number of each light, and of each edit that of its light and its own."""
    places, number, minor = [], -1, 0
    for at in lights:
        number, minor = (number, minor + 1) if at < 0 else (number + 1, 0)
        places.append((number, minor))
    return places
