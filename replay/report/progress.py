"""How far a replay is: one line that changes on a terminal, plain lines elsewhere."""

import sys
import threading
import time

from replay.outcomes import Outcome, Ran, place
from replay.report.painting import Painter

_TERMINAL_SECONDS, _PLAIN_SECONDS = 0.1, 10.0


class Progress:
    """Tells on standard error how far it is. Any thread may use it."""

    def __init__(self) -> None:
        self._paint = Painter(sys.stderr)
        self._lock = threading.Lock()
        self._begun = time.monotonic()
        self._told = 0.0
        self._katas = self._ran = self._same = self._known = 0
        self._is_dirty = False

    def known(self, lights: int) -> None:
        """Take note of lights that an earlier replay ran."""
        with self._lock:
            self._known += lights

    def kata(self) -> None:
        """Take note of a kata that is begun with."""
        with self._lock:
            self._katas += 1

    def outcome(self, outcome: Outcome) -> None:
        """Take note of what came of a light; tell of it where its colour is another."""
        with self._lock:
            where = place(outcome)
            if isinstance(outcome, Ran):
                self._ran += 1
                self._same += outcome.is_same
                if not outcome.is_same:
                    was, now = (self._paint(each, each) for each in (outcome.recorded, outcome.now))
                    self._line(f"{where}: recorded {was}, now {now} ({outcome.image_name})")
            else:
                self._line(f"{where}: {self._paint('not run', 'bold')}: {outcome.reason}")
            pause = _TERMINAL_SECONDS if self._paint.is_terminal else _PLAIN_SECONDS
            if time.monotonic() - self._told >= pause:
                self._tell()

    def say(self, text: str) -> None:
        """Tell something else."""
        with self._lock:
            self._line(text)

    def end(self) -> None:
        """Tell how far it has come, for the last time."""
        with self._lock:
            self._tell()
            if self._is_dirty:
                sys.stderr.write("\n")
                sys.stderr.flush()
                self._is_dirty = False

    def _tell(self) -> None:
        self._told = time.monotonic()
        seconds = self._told - self._begun
        text = f"{self._katas} katas, {self._ran} lights run, {self._same} the same"
        if self._known:
            text += f", {self._known} done before"
        text += f", {self._ran / seconds:.1f} lights/s" if seconds else ""
        if self._paint.is_terminal:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()
            self._is_dirty = True
        else:
            self._line(text)

    def _line(self, text: str) -> None:
        start = "\r\x1b[K" if self._is_dirty else ""
        sys.stderr.write(f"{start}{text}\n")
        sys.stderr.flush()
        self._is_dirty = False
