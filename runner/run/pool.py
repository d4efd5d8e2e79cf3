"""The pool of warm containers: they wait for runs before they are needed.

The pool has one warm container for each (kata, avatar, image) that was used or prepared lately. A
run takes it, and gives it back if it may serve another run; if not, the pool starts the next one in
the background. The pool is a cache: without a warm container that is still good, a run costs a cold
start.

State: the warm containers, and the jobs that start more. One lock guards both; no thread holds it
while the engine works. A container in the pool belongs to the pool. A container that was taken
belongs to the run that took it.
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
from runner.run.container import RunContainer
from runner.run.container_config import RunKey

_log = structlog.get_logger()

# How often to look for containers that were idle too long, or that somebody removed.
_EVICT_SECONDS = 1.0


@dataclass(frozen=True)
class PoolLimits:
    """How many containers may be warm, for how long, and how much memory has to stay available."""

    containers: int
    idle_seconds: int
    min_available_bytes: int


@dataclass
class _Job:
    """The start of one container, by a thread of the pool.

    One that `is_released` when it is done leaves no container.
    """

    key: RunKey
    is_begun: bool = False
    is_released: bool = False
    done: "Future[None]" = field(default_factory=Future)


@dataclass
class _Warm:
    """A warm container, and when it was last used, on the monotonic clock."""

    container: RunContainer
    used: float


class Pool:
    """The warm containers of one runner. Any thread may use it."""

    def __init__(
        self,
        start: Callable[[RunKey], RunContainer],
        image_id: Callable[[str], str | None],
        limits: PoolLimits,
        starters: int,
    ) -> None:
        """`start` starts a container; `image_id` returns the id of a name's image, if there is one.

        At most `starters` containers are started at the same time.
        """
        self._start = start
        self._image_id = image_id
        self._limits = limits
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._warm: OrderedDict[RunKey, _Warm] = OrderedDict()
        self._jobs: OrderedDict[RunKey, _Job] = OrderedDict()
        self._pauses = 0
        self._is_closed = False
        self._images_changed = 0.0
        self._images_checked = 0.0
        self._removers = ThreadPoolExecutor(2, thread_name_prefix="pool-remover")
        self._threads = [
            threading.Thread(target=self._do_jobs, name=f"pool-starter-{number}", daemon=True)
            for number in range(starters if limits.containers else 0)
        ]
        self._threads.append(threading.Thread(target=self._evict, name="pool-evict", daemon=True))
        for thread in self._threads:
            thread.start()

    def take(self, key: RunKey) -> RunContainer | None:
        """Return a warm container, which then belongs to the caller; None if there is none.

        Waits for a container that is being started: starting another one would take longer.
        """
        with self._lock:
            job = self._jobs.get(key)
            if job is not None and not job.is_begun:
                del self._jobs[key]
                job.done.cancel()
                job = None
            elif job is not None:
                job.is_released = False
        if job is not None:
            job.done.exception()
        with self._lock:
            found = self._warm.pop(key, None)
        if found is None:
            return None
        if self._is_good(found):
            return found.container
        self._remove(found)
        return None

    def give_back(self, container: RunContainer) -> bool:
        """Have a container wait for the next run of its key; say whether the pool has taken it.

        One that the pool does not take still belongs to the caller.
        """
        if not self._limits.containers or _available_bytes() < self._limits.min_available_bytes:
            return False
        warm = _Warm(container, used=time.monotonic())
        with self._lock:
            if self._is_closed or container.key in self._warm:
                return False
            evicted = self._evicted(len(self._warm) + 1 - self._limits.containers)
            self._warm[container.key] = warm
        for found in evicted:
            self._remove(found)
        return True

    def warm(self, key: RunKey) -> "Future[None] | None":
        """Have a container started for `key`, if none is warm.

        Returns a future that is done when the container is warm, or has the DojoError that
        prevented it; None if there is nothing to wait for. The container is started after those
        that were asked for earlier, and not while the pool is paused.
        """
        with self._changed:
            if (found := self._warm.get(key)) is not None:
                found.used = time.monotonic()
                self._warm.move_to_end(key)
                return None
            if self._is_closed or not self._limits.containers:
                return None
            job = self._jobs.get(key)
            if job is None:
                job = self._jobs[key] = _Job(key)
                self._changed.notify_all()
            job.is_released = False
            return job.done

    def is_warm(self, key: RunKey) -> bool:
        """Say whether a container is warm for `key`."""
        with self._lock:
            return key in self._warm

    def count(self) -> int:
        """Return how many containers are warm."""
        with self._lock:
            return len(self._warm)

    def count_starting(self) -> int:
        """Return how many containers are being started, or are to be started."""
        with self._lock:
            return len(self._jobs)

    def release(self, kata_id: str, avatar: str) -> None:
        """Remove the containers of an avatar, also those that are being started."""
        with self._lock:
            keys = [
                key
                for key in (*self._warm, *self._jobs)
                if (key.kata_id, key.avatar) == (kata_id, avatar)
            ]
            released = [found for key in keys if (found := self._warm.pop(key, None))]
            for key in keys:
                job = self._jobs.get(key)
                if job is None:
                    continue
                job.is_released = True
                if not job.is_begun:
                    del self._jobs[key]
                    job.done.cancel()
        for found in released:
            self._remove(found)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Start no further container during the block: a run waits, and needs the processors."""
        with self._lock:
            self._pauses += 1
        try:
            yield
        finally:
            with self._changed:
                self._pauses -= 1
                self._changed.notify_all()

    def images_changed(self) -> None:
        """Record that names may stand for other images now, or for none.

        The pool then compares warm containers with their image soon, and each before its run.
        """
        with self._changed:
            self._images_changed = time.monotonic()
            self._changed.notify_all()

    def close(self) -> None:
        """Remove all containers, and start no more."""
        with self._changed:
            self._is_closed = True
            for job in self._jobs.values():
                if not job.is_begun:
                    job.done.cancel()
            self._jobs = OrderedDict((key, job) for key, job in self._jobs.items() if job.is_begun)
            all_warm = list(self._warm.values())
            self._warm.clear()
            self._changed.notify_all()
        for found in all_warm:
            self._remove(found)
        for thread in self._threads:
            thread.join()
        self._removers.shutdown()

    def _is_good(self, found: _Warm) -> bool:
        """Say whether a container still waits, and is of the image that its name stands for now."""
        if not found.container.is_waiting():
            return False
        container = found.container
        if container.image_checked > self._images_changed:
            return True
        checked = time.monotonic()
        if self._image_id(container.key.image_name) != container.image_id:
            return False
        container.image_checked = checked
        return True

    def _remove(self, found: _Warm) -> None:
        self._removers.submit(found.container.close)

    def _do_jobs(self) -> None:
        """Do one job after the other. Each starter thread runs this."""
        while True:
            with self._changed:
                while not self._is_closed and (self._pauses or self._next_job() is None):
                    self._changed.wait()
                job = self._next_job()
                if self._is_closed or job is None:
                    return
                job.is_begun = True
            self._do(job)

    def _next_job(self) -> _Job | None:
        return next((job for job in self._jobs.values() if not job.is_begun), None)

    def _do(self, job: _Job) -> None:
        error: BaseException | None = None
        warm: _Warm | None = None
        try:
            self._make_room()
            if _available_bytes() >= self._limits.min_available_bytes:
                container = self._start(job.key)
                # Its idle time begins here: a busy engine can take longer to start a container than
                # it may be idle.
                warm = _Warm(container, used=time.monotonic())
        except DojoError as raised:
            _log.info("no container warmed", kata=job.key.kata_id, reason=str(raised))
            error = raised
        except Exception as raised:  # noqa: BLE001 - the thread has to continue with the next job
            _log.error("defect", exc_info=raised)
            error = raised
        with self._lock:
            del self._jobs[job.key]
            # A run may have given one back meanwhile.
            is_kept = warm is not None and not (
                self._is_closed or job.is_released or job.key in self._warm
            )
            if warm is not None and is_kept:
                self._warm[job.key] = warm
        if warm is not None and not is_kept:
            self._remove(warm)
        if error is None:
            job.done.set_result(None)
        else:
            job.done.set_exception(error)

    def _make_room(self) -> None:
        """Remove the least recently used containers, so that one more may be started."""
        available_bytes = _available_bytes()
        with self._lock:
            too_many = len(self._warm) + 1 - self._limits.containers
            if available_bytes < self._limits.min_available_bytes:
                too_many = max(too_many, 1)
            evicted = self._evicted(too_many)
        for found in evicted:
            self._remove(found)

    def _evicted(self, count: int) -> list[_Warm]:
        """Take out the least recently used containers. The lock has to be held."""
        return [self._warm.popitem(last=False)[1] for _ in range(min(count, len(self._warm)))]

    def _evict(self) -> None:
        """Remove containers that were idle too long, have ended, or have outdated images."""
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._is_closed or self._may_be_outdated, _EVICT_SECONDS
                )
                if self._is_closed:
                    return
                may_be_outdated = self._may_be_outdated
                oldest = time.monotonic() - self._limits.idle_seconds
                gone = [
                    key
                    for key, found in self._warm.items()
                    if found.used < oldest or not found.container.is_waiting()
                ]
                removed = [self._warm.pop(key) for key in gone]
            for found in removed:
                self._remove(found)
            if may_be_outdated:
                self._replace_outdated()

    @property
    def _may_be_outdated(self) -> bool:
        return self._images_checked < self._images_changed

    def _replace_outdated(self) -> None:
        """Replace the containers whose image's name stands for another image now."""
        checked = time.monotonic()
        with self._lock:
            all_warm = list(self._warm.items())
        names = {key.image_name for key, _ in all_warm}
        try:
            ids = {name: self._image_id(name) for name in names}
        except DojoError as error:  # each container is compared again before its run
            _log.info("images not compared", reason=str(error))
            ids = {}
        for key, found in all_warm:
            if ids.get(key.image_name, found.container.image_id) == found.container.image_id:
                continue
            with self._lock:
                is_still_warm = self._warm.get(key) is found
                if is_still_warm:
                    del self._warm[key]
            if is_still_warm:
                self._remove(found)
                if ids[key.image_name] is not None:
                    self.warm(key)
        with self._lock:
            self._images_checked = checked


def _available_bytes() -> int:
    """Return the memory that the machine can give without swapping (proc(5), MemAvailable)."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/meminfo has no MemAvailable")
