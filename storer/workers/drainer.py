"""A background thread that gives all katas up while this machine is being drained.

Nothing of a kata has to be copied: whoever takes it over reads the archive and etcd. A call that
uses a kata ends first, and a watch is ended: its caller watches again, where the kata is then.
"""

import structlog

from dojo.errors import DojoError
from storer.cluster.installation import Installation
from storer.katas.repository import Katas
from storer.workers.worker import Worker

_log = structlog.get_logger()

_SECONDS = 0.2


class Drainer(Worker):
    """Gives katas up for as long as the installation says that the machine is being drained."""

    def __init__(self, katas: Katas, installation: Installation) -> None:
        super().__init__("drainer")
        self._katas = katas
        self._installation = installation

    def _run(self) -> None:
        while not self._stopped.wait(_SECONDS):
            if self._installation.is_draining():
                for kata_id in self._installation.own_ids():
                    if self._stopped.is_set():
                        return
                    self._give_up(kata_id)

    def _give_up(self, kata_id: str) -> None:
        try:
            self._katas.give_up(kata_id)
        except (DojoError, OSError) as error:
            _log.info("kata not given up", kata=kata_id, reason=str(error))
        except Exception as error:  # noqa: BLE001 - the others can be given up
            _log.error("defect", kata=kata_id, exc_info=error)
