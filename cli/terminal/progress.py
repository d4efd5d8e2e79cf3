"""Progress on standard error: one line that is rewritten, where a terminal looks."""

import os
import shutil
import sys
import time
from types import TracebackType
from typing import Self

from cli.terminal.screen import clean, fitted, size

_TERMINAL_SECONDS = 0.1
_PLAIN_SECONDS = 5.0


class Progress:
    """How far a command is. Elsewhere than on a terminal it is silent, unless it is forced."""

    def __init__(self, *, forced: bool) -> None:
        self._is_terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._is_shown = self._is_terminal or forced
        self._begun = time.monotonic()
        self._told = self._begun - (_TERMINAL_SECONDS if self._is_terminal else 0)
        self._is_dirty = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.clear()

    def tell(self, text: str) -> None:
        """Show how far it is, if it is time for it."""
        now = time.monotonic()
        seconds = _TERMINAL_SECONDS if self._is_terminal else _PLAIN_SECONDS
        if not self._is_shown or now - self._told < seconds:
            return
        self._told = now
        text = clean(text)
        if self._is_terminal:
            width = shutil.get_terminal_size((80, 24)).columns
            sys.stdout.flush()
            sys.stderr.write(f"\r{fitted(text, max(1, width - 1))}")
            self._is_dirty = True
        else:
            sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def tell_bytes(self, what: str, count: int, before: int = 0) -> None:
        """Show how many bytes came, and how fast those that were not there `before`."""
        rate = (count - before) / max(time.monotonic() - self._begun, 0.001)
        self.tell(f"{what}  {size(count)}  {size(int(rate))}/s")

    def clear(self) -> None:
        """Take the line away, for another to be written."""
        if self._is_dirty:
            width = shutil.get_terminal_size((80, 24)).columns
            sys.stderr.write("\r" + " " * max(1, width - 1) + "\r")
            sys.stderr.flush()
            self._is_dirty = False
