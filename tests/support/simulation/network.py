"""The network between machines, etcd and the archive: messages take time, and can be lost."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from support.simulation.scheduler import Process, Scheduler

T = TypeVar("T")

# One way, between two of them: at least, and on average more than that.
_LEAST_SECONDS, _MORE_SECONDS = 0.0002, 0.001


class NoAnswer(Exception):
    """A message got no answer in time, or its connection ended. It may have arrived."""


@dataclass
class Faults:
    """How often messages are lost, of a million, while nothing is cut off."""

    request_lost: int = 0
    answer_lost: int = 0
    # Arrives after its sender has stopped waiting.
    request_late: int = 0
    # Takes up to as long as its sender waits.
    slow: int = 0


@dataclass
class Network:
    """Delivers requests and answers. What is cut off is named by the names of machines."""

    scheduler: Scheduler
    chance: random.Random
    faults: Faults = field(default_factory=Faults)
    cut_from_etcd: set[str] = field(default_factory=set)
    cut_from_peers: set[str] = field(default_factory=set)
    cut_from_archive: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)

    def delay(self) -> float:
        """Return how long a message takes."""
        return _LEAST_SECONDS + self.chance.expovariate(1 / _MORE_SECONDS)

    def ask(  # noqa: C901 - all that can become of a message
        self, work: Callable[[], T], *, is_cut: Callable[[], bool], timeout: float, title: str
    ) -> T:
        """Have `work` done where the answer comes from, and by no process; return its result.

        What it raises is raised here. Raises NoAnswer after `timeout` seconds.
        """
        self.counts[title] += 1
        answer: _Answer[T] = _Answer()
        wake = self.scheduler.waker()
        fate = self.chance.randrange(1_000_000)
        faults = self.faults
        is_lost = fate < faults.request_lost
        is_answer_lost = not is_lost and fate < faults.request_lost + faults.answer_lost
        is_late = fate > 999_999 - faults.request_late

        def arrive() -> None:
            if is_cut() and not is_late:
                end_later()
                return
            answer.take(work)
            if is_cut() or is_answer_lost:
                end_later()
            elif not is_late:
                self.scheduler.call_later(self.delay(), deliver)

        def deliver() -> None:
            answer.is_here = True
            wake()

        def end_later() -> None:
            self.scheduler.call_later(max(0.0, sent + timeout - self.scheduler.now), wake)

        sent, delay = self.scheduler.now, self.delay()
        is_slow = self.chance.randrange(1_000_000) < faults.slow
        if is_slow:
            delay += timeout * self.chance.random()
        if is_late:
            delay += timeout * self.chance.uniform(1, 6)
        if is_lost or is_slow or is_late:
            end_later()
        if not is_lost:
            self.scheduler.call_later(delay, arrive)
        self.scheduler.wait()
        if not answer.is_here:
            raise NoAnswer(title)
        return answer.result()

    def call(
        self,
        target: Process,
        handler: Callable[[], T],
        pending: dict[Pending, None],
        timeout: float,
        *,
        is_cut: Callable[[], bool] = lambda: False,
    ) -> T:
        """Have a task of another process handle a call; return its result, as `ask` does.

        `pending` has the call meanwhile. Raises NoAnswer at once if the process is dead.
        """
        answer: _Answer[T] = _Answer()
        wake = self.scheduler.waker()
        call = Pending(wake)

        def handle() -> None:
            answer.take(handler)
            if not is_cut():
                self.scheduler.call_later(self.delay(), deliver)

        def deliver() -> None:
            answer.is_here = True
            wake()

        def arrive() -> None:
            if target.is_dead:
                wake()
            elif not is_cut():
                self.scheduler.spawn(handle, target)

        self.scheduler.call_later(self.delay(), arrive)
        self.scheduler.call_later(timeout, wake)
        pending[call] = None
        try:
            self.scheduler.wait()
        finally:
            pending.pop(call, None)
        if not answer.is_here:
            raise NoAnswer(target.name)
        return answer.result()


@dataclass(eq=False)
class Pending:
    """A call that waits for its answer, and what ends the wait."""

    end: Callable[[], None]


@dataclass
class _Answer(Generic[T]):
    is_here: bool = False
    value: Any = None
    error: Exception | None = None

    def take(self, work: Callable[[], T]) -> None:
        try:
            self.value = work()
        except Exception as error:  # noqa: BLE001 - it is raised where the answer goes
            self.error = error

    def result(self) -> T:
        if self.error is not None:
            raise self.error
        value: T = self.value
        return value
