"""A background thread that archives katas that nobody has used for a while.

It archives one kata at a time. Before each it waits for a moment without calls, and after each it
rests for as long as it worked. The times of last use are on disk, so a storer that restarts needs
no other state. Two storers in one namespace do no harm: the lock on a kata's folder decides which
of them archives it.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import structlog

from dojo.engine.data_containers import DataContainers
from dojo.errors import ArchiveUnavailable, DiskFull, DojoError, KataInUse, KataNotFound
from storer import metrics
from storer.katas.activity import ActiveCalls
from storer.katas.repository import Katas
from storer.workers.worker import Worker

_log = structlog.get_logger()

# A kata that was used more recently is not archived, however many katas there are.
_MIN_IDLE_SECONDS = 300
# How often to look for katas that are due.
_FIRST_SCAN_SECONDS = 1
_SCAN_SECONDS = 60
# Calls may never pause. Archive then all the same, or the disk would fill up.
_MAX_WAIT_SECONDS = 10
_REST_SECONDS = 0.02


@dataclass(frozen=True)
class Policy:
    """When to archive katas: when idle for `after_seconds`, and the idlest of too many.

    The archive gets what runs left in sandboxes if `with_products`.
    """

    after_seconds: float
    max_data_containers: int
    with_products: bool


class Archiver(Worker):
    """Archives katas: those that are due in a thread of its own, and any other on request."""

    def __init__(
        self,
        katas: Katas,
        data_containers: DataContainers,
        active_calls: ActiveCalls,
        is_watched: Callable[[str], bool],
        policy: Policy,
    ) -> None:
        """Archive by this policy, but no kata for which `is_watched` returns true."""
        super().__init__("archiver")
        self._katas = katas
        self._containers = data_containers
        self._active_calls = active_calls
        self._is_watched = is_watched
        self._policy = policy
        # kata id -> its last use, for katas that can't be archived: retried after another use.
        self._refused: dict[str, float] = {}
        self.problem = ""  # why the last look for katas to archive failed

    def archive(self, kata_id: str) -> None:
        """Archive a kata, due or not. Raises what `Katas.archive_kata` raises."""
        with_products = self._policy.with_products
        self._katas.archive_kata(kata_id, self._is_watched, with_products=with_products)

    def start(self) -> None:
        """Start the thread if there is an archive."""
        if self._katas.archive.is_configured:
            super().start()

    def _run(self) -> None:
        scan_seconds = min(_SCAN_SECONDS, self._policy.after_seconds / 4)
        next_seconds = min(_FIRST_SCAN_SECONDS, scan_seconds)
        while not self._stopped.wait(next_seconds):
            next_seconds = scan_seconds
            try:
                self._archive_due()
                self.problem = ""
            except (ArchiveUnavailable, DiskFull) as error:
                metrics.ARCHIVE_FAILURES.labels(metrics.ARCHIVE).inc()
                _log.warning("nothing archived", reason=str(error))
                self.problem = str(error)
            except Exception as error:  # noqa: BLE001 - a later scan may succeed
                _log.error("defect", exc_info=error)

    def _archive_due(self) -> None:
        for kata_id, touched in self._due():
            overdue_seconds = time.time() - touched - self._policy.after_seconds
            metrics.ARCHIVE_OVERDUE_SECONDS.set(max(0, overdue_seconds))
            self._active_calls.wait_until_none(_MAX_WAIT_SECONDS)
            if self._stopped.is_set():
                return
            started = time.monotonic()
            try:
                self.archive(kata_id)
            except (KataInUse, KataNotFound) as error:
                _log.debug("not archived", kata=kata_id, reason=str(error))
            except (ArchiveUnavailable, DiskFull):
                raise
            except DojoError as error:
                self._refused[kata_id] = touched
                metrics.ARCHIVE_FAILURES.labels(metrics.ARCHIVE).inc()
                _log.warning("not archived", kata=kata_id, reason=str(error))
            self._stopped.wait(time.monotonic() - started + _REST_SECONDS)
        metrics.ARCHIVE_OVERDUE_SECONDS.set(0)

    def _due(self) -> Iterator[tuple[str, float]]:
        """Yield the katas that are due and the times of their last use, the idlest first."""
        touched = {
            kata_id: self._containers.touched(kata_id)
            for kata_id in self._containers.kata_ids()
            if self._containers.exists(kata_id)
        }
        refused = self._refused.items()
        self._refused = {kata_id: used for kata_id, used in refused if touched.get(kata_id) == used}
        excess = len(touched) - self._policy.max_data_containers
        now = time.time()
        min_idle_seconds = min(_MIN_IDLE_SECONDS, self._policy.after_seconds)
        for position, kata_id in enumerate(sorted(touched, key=touched.__getitem__)):
            idle_seconds = now - touched[kata_id]
            is_due = idle_seconds > self._policy.after_seconds or (
                position < excess and idle_seconds > min_idle_seconds
            )
            if is_due and kata_id not in self._refused:
                yield kata_id, touched[kata_id]
