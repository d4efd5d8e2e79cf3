"""Tables fit a terminal, and are complete and plain elsewhere."""

import io

import pytest

from cli.terminal.screen import Screen
from cli.terminal.tables import Column, Table, side_by_side
from support.terminal import Terminal

LONG = "a language with a very long name, and an exercise"


@pytest.fixture(autouse=True)
def _width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")


def table() -> Table:
    made = Table(Column("ID"), Column("LANGUAGE", overflow="cut"), Column("LIGHTS", is_right=True))
    made.add("493A06504A", LONG, "7")
    made.add("9f8TeZMZAq", "日本語", "12")
    return made


def test_a_table_in_a_pipe_has_a_line_for_each_row_and_nothing_is_cut() -> None:
    stream = io.StringIO()
    table().show(Screen(stream))
    assert stream.getvalue() == (
        "ID          LANGUAGE                                           LIGHTS\n"
        f"493A06504A  {LONG}       7\n"
        "9f8TeZMZAq  日本語                                                 12\n"
    )


def test_a_table_on_a_terminal_fits_and_only_columns_that_may_be_cut_are() -> None:
    stream = Terminal()
    table().show(Screen(stream))
    heading, first, second = stream.getvalue().splitlines()
    assert len(first) <= 40
    assert first.startswith("493A06504A  a language")
    assert "…" in first
    assert first.endswith("  7")
    assert heading.endswith("LIGHTS")
    assert "日本語" in second


def test_a_folded_text_is_complete() -> None:
    stream = Terminal()
    made = Table(Column("N"), Column("CHANGES", overflow="fold"))
    made.add("1", LONG)
    made.show(Screen(stream))
    words = " ".join(line.strip("1 ") for line in stream.getvalue().splitlines()[1:])
    assert words == LONG


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_two_texts_side_by_side_are_complete(kind: type[io.StringIO]) -> None:
    stream = kind()
    side_by_side(
        Screen(stream),
        [(("", "    left"), "|", ("", "right")), (("", "x" * 30), "<", ("", ""))],
        width=39,
    )
    lines = [each.rstrip() for each in stream.getvalue().splitlines()]
    assert lines == ["    left           | right", f"{'x' * 18} <", "x" * 12]
