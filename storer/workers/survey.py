"""A background thread that finds what metrics tell and a call can't wait for.

It counts data-containers, looks at the disks and at the last backup; and, less often, counts the
write-ahead logs that a process that died left, and looks for avatars that were set aside.
"""

import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import structlog

from dojo import avatars, free_space
from dojo.engine.data_containers import DataContainers
from storer import metrics
from storer.backup.catalog import Catalog
from storer.fs.checkpointer import Checkpointer
from storer.katas.damaged_katas import DamagedKatas
from storer.workers.worker import Worker

_log = structlog.get_logger()

_SECONDS = 30
# To look at each avatar of thousands of katas takes seconds, so it is done seldom, with pauses.
_WALK_SECONDS = 600
_PAUSE_SECONDS = 0.002


class Survey(Worker):
    """Finds what metrics tell, in a thread of its own."""

    def __init__(
        self,
        data_containers: DataContainers,
        checkpointer: Checkpointer,
        catalog: Catalog,
        damaged: DamagedKatas,
        disks: Mapping[str, Path],
    ) -> None:
        """`disks` maps what a disk is for to a folder on it."""
        super().__init__("survey")
        self._containers = data_containers
        self._checkpointer = checkpointer
        self._catalog = catalog
        self._damaged = damaged
        self._disks = disks

    def _run(self) -> None:
        walked = -math.inf
        while not self._stopped.is_set():
            try:
                self.look()
                if time.monotonic() - walked >= _WALK_SECONDS:
                    self.walk()
                    walked = time.monotonic()
            except OSError as error:  # the metric of the time says that the values are old
                _log.warning("not surveyed", reason=str(error))
            except Exception as error:  # noqa: BLE001 - the next survey may succeed
                _log.error("defect", exc_info=error)
            self._stopped.wait(_SECONDS)

    def look(self) -> None:
        """Find all that needs no look at each kata. Raises OSError."""
        metrics.DATA_CONTAINERS.set(sum(1 for _ in self._containers.kata_ids()))
        for name, folder in self._disks.items():
            _look_at_disk(name, folder)
        metrics.LAST_BACKUP_TIME.set(self._catalog.last_time())
        metrics.SURVEY_TIME.set(time.time())

    def walk(self) -> None:
        """Count write-ahead logs that a process that died left, and find avatars set aside."""
        count = 0
        for kata_id in list(self._containers.kata_ids()):
            if self._stopped.wait(_PAUSE_SECONDS):
                return
            count += sum(map(self._checkpointer.is_foreign, self._avatar_folders(kata_id)))
            self._damaged.look(kata_id)
        self._damaged.looked_at_all()
        metrics.WRITE_AHEAD_LOGS.labels("foreign").set(count)

    def _avatar_folders(self, kata_id: str) -> Iterator[Path]:
        folder = self._containers.folder(kata_id)
        try:
            names = os.listdir(folder)
        except FileNotFoundError:  # it was archived or deleted
            return
        for name in names:
            if avatars.is_name(name) and (folder / name).is_dir():
                yield folder / name


def _look_at_disk(name: str, folder: Path) -> None:
    try:
        free: float = free_space.free_bytes(folder)
        size: float = free_space.size_bytes(folder)
    except OSError as error:  # an archive that is not mounted; whoever uses it tells of it
        _log.debug("disk not found", disk=name, reason=str(error))
        free, size = math.nan, math.nan
    metrics.DISK_FREE_BYTES.labels(name).set(free)
    metrics.DISK_SIZE_BYTES.labels(name).set(size)
