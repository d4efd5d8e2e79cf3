"""How far a replay is: a line that changes on a terminal, plain lines elsewhere."""

import sys
import threading
import time

from cli.terminal.progress import Progress as Line
from cli.terminal.screen import Piece, Screen
from replay.outcomes import Outcome, Ran, place


class Progress:
    """Tells on standard error how far it is. Any thread may use it."""

    def __init__(self) -> None:
        self._screen = Screen(sys.stderr)
        self._line = Line(forced=True)
        self._lock = threading.Lock()
        self._begun = time.monotonic()
        self._katas = self._ran = self._same = self._known = 0

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
                    was, now = ((each, each) for each in (outcome.recorded, outcome.now))
                    self._say(f"{where}: recorded ", was, ", now ", now, f" ({outcome.image_name})")
            else:
                self._say(f"{where}: ", ("not run", "bold"), f": {outcome.reason}")
            self._line.show(self._text())

    def say(self, text: str) -> None:
        """Tell something else."""
        with self._lock:
            for each in text.splitlines():
                self._say(each)

    def end(self) -> None:
        """Tell how far it has come, for the last time."""
        with self._lock:
            self._say(self._text())

    def _text(self) -> str:
        seconds = time.monotonic() - self._begun
        text = f"{self._katas} katas, {self._ran} lights run, {self._same} the same"
        if self._known:
            text += f", {self._known} done before"
        return text + (f", {self._ran / seconds:.1f} lights/s" if seconds else "")

    def _say(self, *pieces: Piece) -> None:
        self._line.clear()
        self._screen.say(*pieces)
        self._screen.flush()
