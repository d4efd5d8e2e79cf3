"""Simulated time, and tasks of which one runs at a time: a seed decides everything that happens.

A task is a function that keeps the processor until it waits for something.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from greenlet import greenlet


class Killed(BaseException):  # not an Exception: the code that is simulated must not catch it
    """The process of a task has died."""


class Process:
    """What tasks belong to: it can be frozen, and it can die."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_frozen = False
        self.is_dead = False
        self.held_back: list[Task] = []


class Task:
    """A function that runs in turn with others."""

    def __init__(self, work: Callable[[], object], process: Process | None) -> None:
        self.process = process
        self.work = work
        self.greenlet: greenlet | None = None
        self.turn = 0  # counts its waits, so that who wakes it wakes it from one of them only

    @property
    def must_end(self) -> bool:
        """Whether its process has died."""
        return self.process is not None and self.process.is_dead


class Scheduler:
    """Runs tasks in the order of their times, and of their numbers at the same time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.switches = 0
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._count = 0
        self._current: Task | None = None
        self._waiting: set[Task] = set()
        self._main: greenlet | None = None

    @property
    def process(self) -> Process | None:
        """The process of the task that runs."""
        return None if self._current is None else self._current.process

    def call_later(self, seconds: float, action: Callable[[], object]) -> None:
        """Do something that waits for nothing, after a while; for no process."""
        self._count += 1
        heapq.heappush(self._due, (self.now + seconds, self._count, action))

    def spawn(
        self, work: Callable[[], object], process: Process | None = None, seconds: float = 0
    ) -> None:
        """Start a task after a while."""
        task = Task(work, process)
        self.call_later(seconds, lambda: self._resume(task))

    def sleep(self, seconds: float) -> None:
        """Have the task that runs wait."""
        self.call_later(seconds, self.waker())
        self.wait()

    def waker(self) -> Callable[[], None]:
        """Return what ends the next wait of the task that runs, and no other."""
        waiting = self._task()
        turn = waiting.turn

        def wake() -> None:
            if waiting.turn == turn:
                waiting.turn += 1
                if self._current is None:
                    self._resume(waiting)
                else:
                    self.call_later(0, lambda: self._resume(waiting))

        return wake

    def wait(self) -> None:
        """Have the task that runs wait until a waker that it got before is called."""
        task = self._task()
        assert self._main is not None
        if not task.must_end:
            self._waiting.add(task)
            self._main.switch()
            self._waiting.discard(task)
        if task.must_end:
            raise Killed

    def run(self, until: Callable[[], bool]) -> None:
        """Run until a condition is met, or nothing is left to do. Raises what a task raised."""
        self._main = greenlet.getcurrent()
        while self._due and not until():
            when, _, action = heapq.heappop(self._due)
            self.now = max(self.now, when)
            action()

    def thaw(self, process: Process) -> None:
        """Let the tasks of a frozen process continue."""
        process.is_frozen = False
        held_back, process.held_back = process.held_back, []
        for task in held_back:
            self.call_later(0, lambda task=task: self._resume(task))  # type: ignore[misc]

    def kill(self, process: Process) -> None:
        """End a process; its tasks end where they are."""
        process.is_dead = True
        self.thaw(process)

    def close(self) -> None:
        """End all tasks, as if their processes had died."""
        self._main = greenlet.getcurrent()
        while self._waiting:
            task = self._waiting.pop()
            task.process = Process("ended")
            task.process.is_dead = True
            self._resume(task)

    def _resume(self, task: Task) -> None:
        process = task.process
        if process is not None and process.is_frozen:
            process.held_back.append(task)
            return
        if task.greenlet is None:
            if task.must_end:
                return
            task.greenlet = greenlet(lambda: _run(task), self._main)
        self.switches += 1
        before, self._current = self._current, task
        try:
            task.greenlet.switch()  # what the task raises is raised here
        finally:
            self._current = before

    def _task(self) -> Task:
        assert self._current is not None, "only a task can wait"
        return self._current


def _run(task: Task) -> None:
    with suppress(Killed):
        task.work()


class Lock:
    """A lock of simulated threads, as threading.Lock is one of real ones."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._is_held = False
        self._waiting: deque[Callable[[], None]] = deque()

    def __enter__(self) -> None:
        while self._is_held:
            self._waiting.append(self._scheduler.waker())
            self._scheduler.wait()
        self._is_held = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_held = False
        while self._waiting:  # all: a task that has ended since takes no lock
            self._waiting.popleft()()


class SharedLock:
    """A lock that many can hold at once, or one exclusively."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._sharers = 0
        self._is_exclusive = False
        self._waiting: deque[Callable[[], None]] = deque()

    def acquire(self, *, shared: bool) -> None:
        while not self.try_acquire(shared=shared):
            self._waiting.append(self._scheduler.waker())
            self._scheduler.wait()

    def try_acquire(self, *, shared: bool) -> bool:
        if self._is_exclusive or (self._sharers and not shared):
            return False
        if shared:
            self._sharers += 1
        else:
            self._is_exclusive = True
        return True

    def release(self) -> None:
        if self._is_exclusive:
            self._is_exclusive = False
        else:
            self._sharers -= 1
        while self._waiting:
            self._waiting.popleft()()


class Event:
    """As threading.Event."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._is_set = False
        self._waiting: list[Callable[[], None]] = []

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        waiting, self._waiting = self._waiting, []
        for wake in waiting:
            wake()

    def clear(self) -> None:
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        if not self._is_set:
            wake = self._scheduler.waker()
            self._waiting.append(wake)
            if timeout is not None:
                self._scheduler.call_later(timeout, wake)
            self._scheduler.wait()
            if wake in self._waiting:
                self._waiting.remove(wake)
        return self._is_set


class Thread:
    """As threading.Thread: a task of the process that makes it."""

    def __init__(self, scheduler: Scheduler, target: Callable[[], object]) -> None:
        self._scheduler = scheduler
        self._target = target
        self._process = scheduler.process
        self._has_ended = Event(scheduler)
        self._has_begun = False

    def start(self) -> None:
        self._has_begun = True
        self._scheduler.spawn(self._run, self._process)

    def is_alive(self) -> bool:
        return self._has_begun and not self._has_ended.is_set()

    def join(self) -> None:
        self._has_ended.wait()

    def _run(self) -> None:
        self._target()
        self._has_ended.set()


class Threading:
    """Stands for the module `threading` in the code that is simulated."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def Lock(self) -> Lock:
        return Lock(self._scheduler)

    def Event(self) -> Event:
        return Event(self._scheduler)

    def Thread(
        self, *, target: Callable[[], object], name: str = "", daemon: bool = True
    ) -> Thread:
        return Thread(self._scheduler, target)


class Clock:
    """Stands for the module `time` in the code that is simulated."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def monotonic(self) -> float:
        return self._scheduler.now

    def time(self) -> float:
        return self._scheduler.now

    def sleep(self, seconds: float) -> None:
        self._scheduler.sleep(seconds)
