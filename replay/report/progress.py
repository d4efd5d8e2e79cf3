"""The progress of a replay: a line that changes on a terminal, plain lines elsewhere."""

import sys
import threading
import time

from cli.terminal.progress import Progress as ProgressLine
from cli.terminal.screen import Piece, Screen
from replay.outcomes import Outcome, Ran, place


class Progress:
    """Counts what was replayed, and shows it on standard error. Any thread may use it."""

    def __init__(self) -> None:
        self._screen = Screen(sys.stderr)
        self._line = ProgressLine(forced=True)
        self._lock = threading.Lock()
        self._begun = time.monotonic()
        self._katas = self._ran = self._same = self._done_before = 0

    def count_done_before(self, lights: int) -> None:
        """Count lights that an earlier replay ran."""
        with self._lock:
            self._done_before += lights

    def count_kata(self) -> None:
        """Count a kata."""
        with self._lock:
            self._katas += 1

    def count_outcome(self, outcome: Outcome) -> None:
        """Count an outcome; write a line if the light was not run, or has another colour."""
        with self._lock:
            where = place(outcome)
            if isinstance(outcome, Ran):
                self._ran += 1
                self._same += outcome.is_same
                if not outcome.is_same:
                    was, now = ((each, each) for each in (outcome.recorded, outcome.now))
                    self._say(f"{where}: recorded ", was, ", now ", now, f" ({outcome.image_name})")
            else:
                self._say(f"{where}: ", ("not run", "bold"), f": {outcome.reason}")
            self._line.show(self._text())

    def say(self, text: str) -> None:
        """Write some other text."""
        with self._lock:
            for each in text.splitlines():
                self._say(each)

    def end(self) -> None:
        """Write the final counts."""
        with self._lock:
            self._say(self._text())

    def _text(self) -> str:
        seconds = time.monotonic() - self._begun
        text = f"{self._katas} katas, {self._ran} lights run, {self._same} the same"
        if self._done_before:
            text += f", {self._done_before} done before"
        return text + (f", {self._ran / seconds:.1f} lights/s" if seconds else "")

    def _say(self, *pieces: Piece) -> None:
        self._line.clear()
        self._screen.say(*pieces)
        self._screen.flush()
