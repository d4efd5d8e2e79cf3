"""Bounds how many ids a caller may try that no kata has: whoever finds an id may enter the kata.

Operators, who may list all katas anyway, are not bounded, and so nobody is where callers have no
names.

A caller that has no guesses left still gets at the katas that it has used before, so participants
go on with their work, whoever guesses beside them. It is refused everything else, katas that exist
too, or it would learn from the difference.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from dojo.access import caller
from dojo.access.roles import Role
from dojo.errors import KataNotFound, TooManyGuesses
from dojo.lru_cache import LruCache

# Who guesses: a caller, and for whom it calls.
_Who = tuple[str, str]

# A part of an id stands for many ids, so it finds a kata sooner than an id does.
COMPLETION_GUESSES = 5

# What is remembered: of so many callers and participants how many guesses they have left, and of so
# many pairs of a caller and a kata that the caller has used the kata.
MAX_GUESSERS = 10_000
MAX_KNOWN = 100_000

_HOUR_SECONDS = 3600.0


class Guesses:
    """The guesses that callers have left. Any thread may use it: a lock guards the numbers."""

    def __init__(self, per_hour: int, now: Callable[[], float] = time.monotonic) -> None:
        """Let each guess `per_hour` times an hour, and save up no more than that."""
        self._per_hour = float(per_hour)
        self._now = now
        self._lock = threading.Lock()
        # How many guesses somebody has left, and since when. Less than none, if several calls at
        # the same time were guesses: then it takes longer until there are some again.
        self._left: LruCache[_Who, tuple[float, float]] = LruCache(MAX_GUESSERS)
        self._known: LruCache[tuple[str, str], bool] = LruCache(MAX_KNOWN)

    @contextlib.contextmanager
    def watching(self, request: Any) -> Iterator[None]:
        """Count a call that ends with KataNotFound as a guess. Raises TooManyGuesses.

        For a request that has no id of a kata, nor a part of one, this does nothing.
        """
        who, kata_id = _guesser(), _kata_id(request)
        if who is None:
            yield
            return
        names_one = bool(kata_id or getattr(request, "partial_id", ""))
        call = _Call(self, who, may_guess=names_one and not self._knows(who, kata_id))
        call.check()
        before = _in_progress.set(call)
        try:
            yield
        except KataNotFound:
            call.spend(1)
            raise
        finally:
            _in_progress.reset(before)
        if kata_id and call.may_guess:
            self.know(who, kata_id)

    def know(self, who: _Who, kata_id: str) -> None:
        """Remember that a caller has used a kata."""
        self._known.put((who[0], kata_id), value=True)

    def _knows(self, who: _Who, kata_id: str) -> bool:
        return self._known.get((who[0], kata_id)) is not None

    def check(self, who: _Who) -> None:
        """Raise TooManyGuesses if somebody has no guess left."""
        with self._lock:
            left = self._left_now(who)
        if left < 1:
            raise TooManyGuesses((1 - left) / self._per_hour * _HOUR_SECONDS)

    def spend(self, who: _Who, count: int) -> None:
        """Take guesses from somebody."""
        with self._lock:
            self._left.put(who, (self._left_now(who) - count, self._now()))

    def _left_now(self, who: _Who) -> float:
        left, since = self._left.get(who) or (self._per_hour, self._now())
        earned = (self._now() - since) / _HOUR_SECONDS * self._per_hour
        return min(left + earned, self._per_hour)


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of somebody whose guesses are bounded, and whether it can turn out to be one."""

    guesses: Guesses
    who: _Who
    may_guess: bool

    def check(self) -> None:
        if self.may_guess:
            self.guesses.check(self.who)

    def spend(self, count: int) -> None:
        if self.may_guess:
            self.guesses.spend(self.who, count)


_in_progress: ContextVar[_Call | None] = ContextVar("call", default=None)


def check() -> None:
    """Raise TooManyGuesses if the call in progress may not look for its kata any more.

    For calls that have waited for their turn: others may have used up the guesses meanwhile.
    """
    if (call := _in_progress.get()) is not None:
        call.check()


@contextlib.contextmanager
def watching_part(request: Any) -> Iterator[None]:
    """Count a part of the call in progress, which names a kata of its own, as one is counted.

    Raises TooManyGuesses.
    """
    call = _in_progress.get()
    with contextlib.nullcontext() if call is None else call.guesses.watching(request):
        yield


def nothing_completed() -> None:
    """Count the call in progress as guesses: there is no id that it could have completed."""
    if (call := _in_progress.get()) is not None:
        call.spend(COMPLETION_GUESSES)


def used(kata_id: str) -> None:
    """Count a kata as used by the caller: the call in progress made it, or knows an old id."""
    if (call := _in_progress.get()) is not None:
        call.guesses.know(call.who, kata_id)


def _guesser() -> _Who | None:
    """Return who makes the call in progress; None for somebody who may list all katas."""
    who = caller.current()
    if who is None or who.role is Role.OPERATOR:
        return None
    return who.name, who.participant


def _kata_id(request: Any) -> str:
    request = getattr(request, "run", request)  # RunStream's request wraps that of Run
    return str(getattr(request, "kata_id", ""))
