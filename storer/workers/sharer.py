"""A background thread that shares the katas that a machine had before it was one of several.

First it claims them all, so that the other machines find them here; then it puts each where others
can take it over from. Until then a kata is lost for as long as this machine is.
"""

from collections.abc import Callable

import structlog

from dojo.engine.data_containers import DataContainers
from dojo.errors import DojoError, KataMoved
from storer.katas.repository import Katas
from storer.workers.worker import Worker

_log = structlog.get_logger()

# Until what failed is tried again.
_PAUSE_SECONDS = 10


class Sharer(Worker):
    """Shares katas until all are shared."""

    def __init__(self, katas: Katas, data_containers: DataContainers) -> None:
        super().__init__("sharer")
        self._katas = katas
        self._containers = data_containers

    def _run(self) -> None:
        while not self._share_all():
            if self._stopped.wait(_PAUSE_SECONDS):
                return

    def _share_all(self) -> bool:
        """Share all katas that are not; return whether there is nothing left to do."""
        unshared = [each for each in self._containers.kata_ids() if self._katas.is_unshared(each)]
        claimed = [self._tried(kata_id, self._katas.claim) for kata_id in unshared]
        shared = [self._tried(kata_id, self._katas.share) for kata_id in unshared]
        if unshared and all(shared):
            _log.info("katas shared", count=len(unshared))
        return all(claimed) and all(shared)

    def _tried(self, kata_id: str, share: Callable[[str], object]) -> bool:
        if self._stopped.is_set():
            return True
        try:
            share(kata_id)
        except KataMoved:
            return True  # another machine has it, which is what a kata is shared for
        except (DojoError, OSError) as error:
            _log.info("kata not shared", kata=kata_id, reason=str(error))
            return False
        except Exception as error:  # noqa: BLE001 - the others can be shared
            _log.error("defect", kata=kata_id, exc_info=error)
        return True
