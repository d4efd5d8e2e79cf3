"""A background thread that checks katas of which somebody said that they are damaged.

A kata that a caller or VerifyKatas found damaged is checked at once, and so is a broken one that
was changed, replaced, archived or deleted. All that are broken are checked again each hour: a file
that somebody put back tells nobody. After each check the thread rests for as long as it worked.
"""

import math
import time

import structlog

from dojo.errors import DojoError, KataNotFound
from storer.katas.damaged_katas import DamagedKatas
from storer.verify.katas import Verifier
from storer.workers.worker import Worker

_log = structlog.get_logger()

_AGAIN_SECONDS = 3600
# A kata that could not be checked: somebody holds it, or an archive does not answer.
_RETRY_SECONDS = 30


class DamageChecker(Worker):
    """Checks the suspects of `DamagedKatas`."""

    def __init__(self, damaged: DamagedKatas, verifier: Verifier) -> None:
        """Check with `verifier`, which nobody else uses."""
        super().__init__("damage checker")
        self._damaged = damaged
        self._verifier = verifier
        self._unchecked: dict[str, str] = {}  # katas to be retried, and why

    def stop(self) -> None:
        """Stop after the kata in progress, and wait for it."""
        self._stopped.set()
        self._damaged.wake()
        super().stop()

    def _run(self) -> None:
        checked_again, retried = -math.inf, time.monotonic()
        while not self._stopped.is_set():
            now = time.monotonic()
            if now - checked_again >= _AGAIN_SECONDS:
                checked_again = now
                self._damaged.suspect_all_broken()
            if now - retried >= _RETRY_SECONDS:
                retried = now
                for unchecked in self._unchecked:
                    self._damaged.suspect(unchecked)
            suspect = self._damaged.next_suspect(_RETRY_SECONDS)
            if suspect is not None and not self._stopped.is_set():
                begun = time.monotonic()
                self.check(suspect)
                self._stopped.wait(time.monotonic() - begun)

    def check(self, kata_id: str) -> None:
        """Check a kata, and note whether it is broken."""
        reason = ""
        try:
            self._damaged.conclude(kata_id, self._damage_of(kata_id))
        except (DojoError, OSError) as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - the others can be checked
            _log.error("defect", exc_info=error)
        if not reason:
            self._unchecked.pop(kata_id, None)
        elif self._unchecked.get(kata_id) != reason:
            self._unchecked[kata_id] = reason
            _log.warning("not checked for damage", kata=kata_id, reason=reason)

    def _damage_of(self, kata_id: str) -> str:
        try:
            return self._verifier.damage_of(kata_id, everywhere=True)
        except (KataNotFound, FileNotFoundError):  # it is gone
            return ""
