"""Where a command writes: lines for people, or JSON for programs.

Lines have colours on a terminal, unless NO_COLOR (https://no-color.org) is set. Elsewhere they are
plain, and rich is not even loaded. Rich's markup, highlighting and wrapping of lines are off.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO

from cli.terminal.clean import clean
from cli.terminal.complaint import CommandFailed

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

STYLES = {
    "red": "red",
    "amber": "yellow",
    "green": "green",
    "timed_out": "cyan",
    "faulty": "magenta",
    "bold": "bold",
    "dim": "dim",
}
_MANY_COLUMNS = 10_000  # where there is no terminal, so that nothing is cut
CLOSED = 2  # the exit code where standard output is closed

# A text, or a text and the name of its style. An unknown style leaves the text plain.
Piece = str | tuple[str, str]
Pieces = Piece | Iterable[Piece]


class Screen:
    """Where a command writes. All text is cleaned here."""

    def __init__(
        self, stream: TextIO | None = None, *, as_json: bool = False, fields: Sequence[str] = ()
    ) -> None:
        """Write to a stream, by default standard output; of JSON only the `fields`, if there are.

        Raises CommandFailed if the stream is closed.
        """
        self._stream = stream or sys.stdout
        if self._stream is None:
            raise CommandFailed("standard output is closed", CLOSED)
        self.as_json = as_json
        self.fields = fields
        self.is_terminal = self._stream.isatty()
        is_dumb = os.environ.get("TERM") in {"dumb", "unknown"}
        self.is_coloured = self.is_terminal and not os.environ.get("NO_COLOR") and not is_dumb
        columns = shutil.get_terminal_size((80, 24)).columns
        self.width = max(40, columns) if self.is_terminal else _MANY_COLUMNS

    def say(self, *pieces: Piece, style: str = "") -> None:
        """Write a line."""
        shown = "".join(self._styled(*_split(piece, style)) for piece in pieces)
        self._stream.write(shown.rstrip(" ") + "\n")

    def record(self, value: dict[str, Any]) -> None:
        """Write a line of JSON and flush it: the program that reads may wait for it."""
        if self.fields:
            value = {name: value[name] for name in self.fields}
        self._stream.write(json.dumps(value) + "\n")
        self._stream.flush()

    def flush(self) -> None:
        """Flush what was written."""
        self._stream.flush()

    @cached_property
    def console(self) -> Console:
        """Rich's view of the stream, for tables and progress."""
        from rich.console import Console  # noqa: PLC0415 - only where it is needed

        return Console(
            file=self._stream,
            width=None if self.is_terminal else self.width,  # a terminal's width can change
            force_terminal=self.is_terminal,
            color_system="standard" if self.is_coloured else None,
            markup=False,
            highlight=False,
            emoji=False,
        )

    def _styled(self, text: str, style: str) -> str:
        text = clean(text)
        if not self.is_coloured or not text or style not in STYLES:
            return text
        from rich.style import Style  # noqa: PLC0415 - only where there are colours

        return Style.parse(STYLES[style]).render(text)


def plain(pieces: Pieces) -> str:
    """Return the clean text of pieces, without styles."""
    return "".join(clean(_split(piece)[0]) for piece in _each(pieces))


def rich_text(pieces: Pieces, style: str = "") -> Text:
    """Return pieces as one of rich's texts, clean."""
    from rich.text import Text  # noqa: PLC0415 - only where it is needed

    text = Text(style=STYLES.get(style, ""))
    for piece in _each(pieces):
        shown, own = _split(piece)
        text.append(clean(shown), STYLES.get(own))
    return text


def _each(pieces: Pieces) -> Iterable[Piece]:
    return [pieces] if isinstance(pieces, str | tuple) else pieces


def _split(piece: Piece, style: str = "") -> tuple[str, str]:
    return (piece, style) if isinstance(piece, str) else piece
