"""What participants wrote can't steer a terminal."""

import io
import re

import pytest

from cli.terminal.clean import clean, line
from cli.terminal.screen import Screen
from cli.terminal.tables import Column, Table, side_by_side
from support.terminal import Terminal

HOSTILE = {
    "an escape": "\x1b[2J\x1b]0;owned\x07",
    "an escape of eight bits": "\x9b2J",
    "a carriage return": "safe\rrm -rf /",
    "backspaces": "over\x08\x08",
    "a line feed": "one\ntwo",
    "another direction": "a\u202etxt.exe",
    "isolates": "\u2066\u2069",
    "what can't be seen": "a\u200bb\ufeffc",
    "separators": "a\u2028b\u2029c",
    "a surrogate": "a\udc80b",
    "markup of rich": "[red]x[/red] [link=http://a]b[/link] \\[ :smile:",
}
# The only escapes that may be written: those that set a colour.
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
STEERING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")

each_hostile = pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)


@pytest.fixture(params=[Terminal, io.StringIO], ids=["terminal", "pipe"])
def stream(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """The stream of a screen: a terminal with colours, or a pipe."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("NO_COLOR", raising=False)
    made: io.StringIO = request.param()
    return made


def shown(stream: io.StringIO) -> str:
    """Return what was written, without colours, and assert that it has no other escapes."""
    text = COLOURS.sub("", stream.getvalue())
    assert not STEERING.search(text), ascii(text)
    assert not any(0xD800 <= ord(each) < 0xE000 for each in text)
    return text


@each_hostile
def test_a_clean_text_is_seen_whole_and_stays_as_it_is(text: str) -> None:
    cleaned = clean(text)
    assert not STEERING.search(cleaned)
    assert "\n" not in cleaned
    assert clean(cleaned) == cleaned


def test_bytes_that_are_not_utf8_and_tabs_are_shown() -> None:
    assert clean(b"a\xff\x1bb") == "a\\xff\\x1bb"
    assert line(b"\ta\tb\r") == "    a   b"
    assert line("né 日本") == "né 日本"


@each_hostile
@pytest.mark.parametrize("style", ["", "red"])
def test_a_line_on_a_screen_is_one_line_and_harmless(
    stream: io.StringIO, text: str, style: str
) -> None:
    screen = Screen(stream)
    screen.say(text, (text, "green"), style=style)
    assert shown(stream) == (clean(text) * 2).rstrip() + "\n"


@each_hostile
def test_a_table_is_harmless(stream: io.StringIO, text: str) -> None:
    table = Table(Column("NAME", overflow="cut"), Column("SAYS", overflow="fold"))
    table.add(text, [text, (text, "red")], style="red")
    table.show(Screen(stream))
    heading, row = shown(stream).splitlines()
    assert heading.split() == ["NAME", "SAYS"]
    assert row.rstrip() == f"{clean(text)}  {clean(text) * 2}".rstrip()


@each_hostile
def test_two_texts_side_by_side_are_harmless(stream: io.StringIO, text: str) -> None:
    side_by_side(
        Screen(stream), [((text, ""), "|", ("", (text, "red")))], width=199, label_columns=80
    )
    assert shown(stream).split("|")[0].strip() == clean(text).strip()


def test_no_color_leaves_out_colours(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    screen = Screen(stream)
    table = Table(Column("NAME"))
    table.add(("x", "red"), style="bold")
    table.show(screen)
    screen.say("x", style="bold")
    assert "\x1b" not in stream.getvalue()
