"""Containers that were started before they are needed.

The pool holds, for each (kata, avatar, image) that was used or prepared lately, one container
that waits. Whoever takes it runs it, once; the next is made in the background. It is a cache:
whatever is not in it, or is in it and no longer good, costs a cold start and nothing else.

State: the waiting containers and the jobs of making more, guarded by one lock, which nobody
holds while the engine works. A container in the pool belongs to the pool, one that was taken
to its taker.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from dojo.errors import DojoError
from runner.run.container import RunContainer, RunKey

_log = structlog.get_logger()

# How often containers that were idle too long, or that somebody removed, are looked for.
_TIDY_SECONDS = 1.0


@dataclass(frozen=True)
class PoolLimits:
    """How many containers may wait, for how long, and how much memory they leave to others."""

    containers: int
    idle_seconds: int
    min_available_bytes: int


@dataclass
class _Job:
    """The making of one container, by the pool's threads."""

    key: RunKey
    is_begun: bool = False
    done: "Future[None]" = field(default_factory=Future)


@dataclass
class _Waiting:
    container: RunContainer
    image_id: str
    made: float
    used: float


class Pool:
    """The waiting containers of one runner. Any thread may use it."""

    def __init__(
        self,
        start: Callable[[RunKey], RunContainer],
        image_id: Callable[[str], str | None],
        limits: PoolLimits,
        makers: int,
    ) -> None:
        """`start` makes and starts a container; `image_id` says which image a name is, if any.

        At most `makers` containers are made at the same time.
        """
        self._start = start
        self._image_id = image_id
        self._limits = limits
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiting: OrderedDict[RunKey, _Waiting] = OrderedDict()
        self._jobs: OrderedDict[RunKey, _Job] = OrderedDict()
        self._holds = 0
        self._is_closed = False
        self._images_changed = 0.0
        self._images_checked = 0.0
        self._removers = ThreadPoolExecutor(2, thread_name_prefix="pool-remover")
        self._threads = [
            threading.Thread(target=self._make, name=f"pool-maker-{number}", daemon=True)
            for number in range(makers if limits.containers else 0)
        ]
        self._threads.append(threading.Thread(target=self._tidy, name="pool-tidy", daemon=True))
        for thread in self._threads:
            thread.start()

    def take(self, key: RunKey) -> RunContainer | None:
        """Return a waiting container, which is the caller's from now on; None if there is none.

        Waits for one that is being made, which takes less time than to make another.
        """
        with self._lock:
            job = self._jobs.get(key)
            if job is not None and not job.is_begun:
                del self._jobs[key]
                job.done.cancel()
                job = None
        if job is not None:
            job.done.exception()
        with self._lock:
            found = self._waiting.pop(key, None)
        if found is None:
            return None
        if self._is_good(found):
            return found.container
        self._remove(found)
        return None

    def warm(self, key: RunKey) -> "Future[None] | None":
        """Have a container wait for `key`, if none does.

        Returns what ends when one waits, with the DojoError that prevented it, or None where
        there is nothing to wait for. Making it comes after everything that is held or was asked
        for before.
        """
        with self._changed:
            if (found := self._waiting.get(key)) is not None:
                found.used = time.monotonic()
                self._waiting.move_to_end(key)
                return None
            if self._is_closed or not self._limits.containers:
                return None
            job = self._jobs.get(key)
            if job is None:
                job = self._jobs[key] = _Job(key)
                self._changed.notify_all()
            return job.done

    def is_warm(self, key: RunKey) -> bool:
        """Say whether a container waits for `key`."""
        with self._lock:
            return key in self._waiting

    def release(self, kata_id: str, avatar: str) -> None:
        """Let go of the containers that wait for an avatar."""
        with self._lock:
            keys = [
                key
                for key in (*self._waiting, *self._jobs)
                if (key.kata_id, key.avatar) == (kata_id, avatar)
            ]
            released = [found for key in keys if (found := self._waiting.pop(key, None))]
            for key in keys:
                job = self._jobs.get(key)
                if job is not None and not job.is_begun:
                    del self._jobs[key]
                    job.done.cancel()
        for found in released:
            self._remove(found)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Begin no making while somebody waits for a run of his own."""
        with self._lock:
            self._holds += 1
        try:
            yield
        finally:
            with self._changed:
                self._holds -= 1
                self._changed.notify_all()

    def images_changed(self) -> None:
        """Take note that a name may stand for another image now, or for none.

        What waits is compared with it before it is run, and soon in any case.
        """
        with self._changed:
            self._images_changed = time.monotonic()
            self._changed.notify_all()

    def close(self) -> None:
        """Remove all containers, and make no more."""
        with self._changed:
            self._is_closed = True
            for job in self._jobs.values():
                if not job.is_begun:
                    job.done.cancel()
            self._jobs = OrderedDict((key, job) for key, job in self._jobs.items() if job.is_begun)
            waiting = list(self._waiting.values())
            self._waiting.clear()
            self._changed.notify_all()
        for found in waiting:
            self._remove(found)
        for thread in self._threads:
            thread.join()
        self._removers.shutdown()

    def _is_good(self, found: _Waiting) -> bool:
        """Say whether a container can be run: it waits still, and its image is the one meant."""
        if not found.container.is_waiting():
            return False
        if found.made > self._images_changed:
            return True
        return self._image_id(found.container.key.image_name) == found.image_id

    def _remove(self, found: _Waiting) -> None:
        self._removers.submit(found.container.close)

    def _make(self) -> None:
        """Make containers, one after the other. Each of the pool's threads does this."""
        while True:
            with self._changed:
                while not self._is_closed and (self._holds or self._next_job() is None):
                    self._changed.wait()
                job = self._next_job()
                if self._is_closed or job is None:
                    return
                job.is_begun = True
            self._make_one(job)

    def _next_job(self) -> _Job | None:
        return next((job for job in self._jobs.values() if not job.is_begun), None)

    def _make_one(self, job: _Job) -> None:
        error: BaseException | None = None
        made: _Waiting | None = None
        try:
            self._make_room()
            if _available_bytes() >= self._limits.min_available_bytes:
                begun = time.monotonic()
                image_id = self._image_id(job.key.image_name) or ""
                container = self._start(job.key)
                # A busy engine can take longer to make one than it may wait.
                made = _Waiting(container, image_id, made=begun, used=time.monotonic())
        except DojoError as raised:
            _log.info("nothing made warm", kata=job.key.kata_id, reason=str(raised))
            error = raised
        except Exception as raised:  # noqa: BLE001 - the next one may go well
            _log.error("defect", exc_info=raised)
            error = raised
        with self._lock:
            del self._jobs[job.key]
            is_kept = made is not None and not self._is_closed
            if made is not None and is_kept:
                self._waiting[job.key] = made
        if made is not None and not is_kept:
            self._remove(made)
        if error is None:
            job.done.set_result(None)
        else:
            job.done.set_exception(error)

    def _make_room(self) -> None:
        """Let go of those that were not used for the longest time, for one more to be made."""
        available_bytes = _available_bytes()
        with self._lock:
            too_many = len(self._waiting) + 1 - self._limits.containers
            if available_bytes < self._limits.min_available_bytes:
                too_many = max(too_many, 1)
            evicted = [
                self._waiting.popitem(last=False)[1]
                for _ in range(min(too_many, len(self._waiting)))
            ]
        for found in evicted:
            self._remove(found)

    def _tidy(self) -> None:
        """Let go of containers that were idle too long, that somebody removed, or of old images."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed or self._is_unsure, _TIDY_SECONDS)
                if self._is_closed:
                    return
                is_unsure = self._is_unsure
                oldest = time.monotonic() - self._limits.idle_seconds
                gone = [
                    key
                    for key, found in self._waiting.items()
                    if found.used < oldest or not found.container.is_waiting()
                ]
                removed = [self._waiting.pop(key) for key in gone]
            for found in removed:
                self._remove(found)
            if is_unsure:
                self._replace_outdated()

    @property
    def _is_unsure(self) -> bool:
        return self._images_checked < self._images_changed

    def _replace_outdated(self) -> None:
        """Let go of containers whose image's name stands for another now, and make new ones."""
        checked = time.monotonic()
        with self._lock:
            waiting = list(self._waiting.items())
        names = {key.image_name for key, _ in waiting}
        try:
            ids = {name: self._image_id(name) for name in names}
        except DojoError as error:  # what waits is looked at again before it is run
            _log.info("images not compared", reason=str(error))
            ids = {}
        for key, found in waiting:
            if ids.get(key.image_name, found.image_id) == found.image_id:
                continue
            with self._lock:
                is_mine = self._waiting.get(key) is found
                if is_mine:
                    del self._waiting[key]
            if is_mine:
                self._remove(found)
                if ids[key.image_name] is not None:
                    self.warm(key)
        with self._lock:
            self._images_checked = checked


def _available_bytes() -> int:
    """Return how much memory the machine can give without swapping (proc(5), MemAvailable)."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/meminfo has no MemAvailable")
