"""Progress on standard error: on a terminal, a line that rich rewrites."""

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
    """A command's progress. Where there is no terminal nothing is shown, unless `forced`."""

    def __init__(self, *, forced: bool) -> None:
        self._is_terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._is_shown = self._is_terminal or forced
        self._begun = time.monotonic()
        self._last_shown = self._begun - (_TERMINAL_SECONDS if self._is_terminal else 0)
        self._line: progress.Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_shown = False  # another thread may still call show()
        self.clear()

    def show(self, text: str, done: int = 0, total: int | None = None) -> None:
        """Show a text, unless one was shown a moment ago; with a bar if the total is known."""
        now = time.monotonic()
        seconds = _TERMINAL_SECONDS if self._is_terminal else _PLAIN_SECONDS
        if not self._is_shown or now - self._last_shown < seconds:
            return
        self._last_shown = now
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
            # SIGPIPE can end this process at any time, and would leave the cursor hidden.
            self._line.console.show_cursor()

    def show_bytes(self, what: str, count: int, before: int = 0, total: int | None = None) -> None:
        """Show a number of bytes, and the rate of those that came after the first `before`."""
        rate = (count - before) / max(time.monotonic() - self._begun, 0.001)
        self.show(f"{what}  {size(count)}  {size(int(rate))}/s", count, total)

    def clear(self) -> None:
        """Remove the line, so that another can be written in its place."""
        if self._line is not None:
            self._line.stop()


def _line(*, has_bar: bool) -> progress.Progress:
    from rich import progress, table  # noqa: PLC0415 - only where it is needed

    column = table.Column(no_wrap=True, overflow="ellipsis")
    text = progress.TextColumn("{task.description}", markup=False, table_column=column)
    bar = (progress.BarColumn(), progress.TimeRemainingColumn()) if has_bar else ()
    shown = progress.Progress(
        text,
        *bar,
        console=Screen(sys.stderr).console,
        auto_refresh=False,  # no thread: show() draws the line
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    shown.add_task("", total=None)
    return shown
