"""A background thread that removes imported katas from the katas directory, to save the disk.

It runs only if the katas directory may be written. A kata is removed there when its data-container
has every light that an import would bring now, VerifyKatas finds nothing wrong with it, and all of
it is on disk.
"""

import os
from pathlib import Path

import structlog

from dojo import locks
from dojo.access.audit import Audit
from dojo.engine.data_containers import DataContainers
from dojo.errors import DojoError, KataNotFound
from storer.fs import tree
from storer.kata.ancestry import lights_only_in
from storer.kata.kata import Kata
from storer.katas import publish
from storer.katas.import_source import KatasDirectory
from storer.katas.intake import Intake
from storer.katas.repository import Katas
from storer.verify.katas import Verifier
from storer.workers.worker import Worker

_log = structlog.get_logger()

_FIRST_SCAN_SECONDS = 1
_SCAN_SECONDS = 60


class SourceRemover(Worker):
    """Removes katas from the katas directory that are safe in a data-container."""

    def __init__(
        self,
        katas: Katas,
        directory: KatasDirectory,
        data_containers: DataContainers,
        audit: Audit,
        *,
        intake: Intake,
        verifier: Verifier,
    ) -> None:
        """Remove katas from `directory` that are in `data_containers`; `verifier` is used alone.

        `intake` takes them in once more, for a comparison.
        """
        super().__init__("source remover")
        self._audit = audit
        self._katas = katas
        self._intake = intake
        self._directory = directory
        self._containers = data_containers
        self._verifier = verifier
        self._told: set[str] = set()  # katas that stay, which was logged

    def start(self) -> None:
        """Start the thread if the katas directory may be written."""
        if self._directory.removes:
            super().start()

    def _run(self) -> None:
        seconds = _FIRST_SCAN_SECONDS
        while not self._stopped.wait(seconds):
            seconds = _SCAN_SECONDS
            for kata_id in list(self._containers.kata_ids()):
                source = self._directory.folder(kata_id)
                if self._stopped.is_set():
                    return
                if source is not None and self._containers.exists(kata_id):
                    self._remove(kata_id, source)

    def _remove(self, kata_id: str, source: Path) -> None:
        try:
            reason = self._difference(kata_id, source) or self._verifier.damage_of(kata_id)
        except (KataNotFound, FileNotFoundError):  # it is archived or deleted meanwhile
            return
        except (DojoError, OSError) as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - the other katas can be removed
            _log.error("defect", exc_info=error)
            return
        if not reason:
            os.sync()
            with self._audit.doing("remove imported kata", kata=kata_id, path=str(source)):
                self._directory.remove(kata_id)
        elif kata_id not in self._told:
            self._told.add(kata_id)
            _log.warning("kata stays in the katas directory", kata=kata_id, reason=reason)

    def _difference(self, kata_id: str, source: Path) -> str:
        """Import the kata once more, beside the one that is there; say which lights that lacks."""
        folder = self._containers.folder(kata_id)
        with locks.locked(folder, shared=True), publish.staging(folder) as staged:
            tree.copy(source, staged.folder)
            self._intake.take(staged.folder, kata_id)
            with self._katas.reading(kata_id) as kata:
                lost = lights_only_in(Kata.detached(staged.folder, kata_id), kata)
        return f"its data-container lacks lights of {', '.join(lost)}" if lost else ""
