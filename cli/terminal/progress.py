"""Progress on standard error: a line that rich rewrites, where a terminal looks."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from cli.terminal.clean import clean
from cli.terminal.quantities import size
from cli.terminal.screen import Screen

if TYPE_CHECKING:
    from rich import progress

_TERMINAL_SECONDS = 0.1
_PLAIN_SECONDS = 5.0


class Progress:
    """How far a command is. Elsewhere than on a terminal it is silent, unless it is forced."""

    def __init__(self, *, forced: bool) -> None:
        self._is_terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._is_shown = self._is_terminal or forced
        self._begun = time.monotonic()
        self._told = self._begun - (_TERMINAL_SECONDS if self._is_terminal else 0)
        self._line: progress.Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_shown = False  # another thread may come to tell something still
        self.clear()

    def tell(self, text: str, done: int = 0, total: int | None = None) -> None:
        """Show how far it is, if it is time for it; with a bar where the total is known."""
        now = time.monotonic()
        seconds = _TERMINAL_SECONDS if self._is_terminal else _PLAIN_SECONDS
        if not self._is_shown or now - self._told < seconds:
            return
        self._told = now
        if not self._is_terminal:
            sys.stderr.write(f"{clean(text)}\n")
            sys.stderr.flush()
            return
        sys.stdout.flush()
        if self._line is None:
            self._line = _line(has_bar=total is not None)
        task = self._line.task_ids[0]
        self._line.update(task, description=clean(text), completed=done, total=total)
        if self._line.live.is_started:
            self._line.refresh()
        else:
            self._line.start()
            # A reader that has seen enough ends us in the middle: no cursor may stay hidden.
            self._line.console.show_cursor()

    def tell_bytes(self, what: str, count: int, before: int = 0, total: int | None = None) -> None:
        """Show how many bytes came, and how fast those that were not there `before`."""
        rate = (count - before) / max(time.monotonic() - self._begun, 0.001)
        self.tell(f"{what}  {size(count)}  {size(int(rate))}/s", count, total)

    def clear(self) -> None:
        """Take the line away, for another to be written."""
        if self._line is not None:
            self._line.stop()


def _line(*, has_bar: bool) -> progress.Progress:
    from rich import progress, table  # noqa: PLC0415 - only where it is needed

    told = table.Column(no_wrap=True, overflow="ellipsis")
    text = progress.TextColumn("{task.description}", markup=False, table_column=told)
    bar = (progress.BarColumn(), progress.TimeRemainingColumn()) if has_bar else ()
    made = progress.Progress(
        text,
        *bar,
        console=Screen(sys.stderr).console,
        auto_refresh=False,  # no thread: it is drawn when there is something to tell
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    made.add_task("", total=None)
    return made
