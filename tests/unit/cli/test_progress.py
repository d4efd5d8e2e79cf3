"""Progress is shown on a terminal, and elsewhere only if it is forced."""

import io
import sys

import pytest

from cli.terminal.progress import Progress
from support.terminal import Terminal

HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"


@pytest.fixture(params=[None, 10], ids=["total unknown", "total known"])
def total(request: pytest.FixtureRequest) -> int | None:
    """The total amount of work, if it is known."""
    found: int | None = request.param
    return found


def written_to(
    stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, total: int | None, *, forced: bool = False
) -> str:
    """Show progress on standard error; return what was written before the line was cleared."""
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("cli.terminal.progress._PLAIN_SECONDS", 0.0)
    with Progress(forced=forced) as progress:
        progress.show("493A06504A [red]\x1b[2J", 5, total)
        written = stream.getvalue()
    progress.show("too late")
    assert "too late" not in stream.getvalue()
    return written


def test_a_line_on_a_terminal_is_harmless_and_goes_away(
    monkeypatch: pytest.MonkeyPatch, total: int | None
) -> None:
    stream = Terminal()
    written = written_to(stream, monkeypatch, total)
    assert "493A06504A [red]\\x1b[2J" in written
    assert ("━" in written) is (total is not None)
    assert stream.getvalue().endswith("\x1b[2K")


def test_the_cursor_stays_visible_during_progress(
    monkeypatch: pytest.MonkeyPatch, total: int | None
) -> None:
    written = written_to(Terminal(), monkeypatch, total)
    assert written.rindex(SHOWN) > written.rindex(HIDDEN)


def test_a_pipe_gets_progress_only_if_forced(
    monkeypatch: pytest.MonkeyPatch, total: int | None
) -> None:
    assert written_to(io.StringIO(), monkeypatch, total) == ""
    written = written_to(io.StringIO(), monkeypatch, total, forced=True)
    assert written == "493A06504A [red]\\x1b[2J\n"
