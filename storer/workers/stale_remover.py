"""A background thread that removes what is here of katas that other machines took over."""

import structlog

from dojo.engine.data_containers import DataContainers
from dojo.errors import DojoError
from storer.katas.repository import Katas
from storer.workers.worker import Worker

_log = structlog.get_logger()

# How often to look; a kata that is in use then, or of which etcd tells nothing, stays until later.
_SECONDS = 15


class StaleRemover(Worker):
    """Removes katas that this machine owned once."""

    def __init__(self, katas: Katas, data_containers: DataContainers) -> None:
        super().__init__("stale remover")
        self._katas = katas
        self._containers = data_containers

    def _run(self) -> None:
        while not self._stopped.wait(_SECONDS):
            for kata_id in list(self._containers.kata_ids()):
                if self._stopped.is_set():
                    return
                try:
                    self._katas.remove_stale(kata_id)
                except (DojoError, OSError) as error:
                    _log.debug("stale kata not removed", kata=kata_id, reason=str(error))
                except Exception as error:  # noqa: BLE001 - the others can be removed
                    _log.error("defect", kata=kata_id, exc_info=error)
