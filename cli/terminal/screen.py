"""Text for a terminal: what participants wrote can't steer it, and it fits.

Colours where a terminal looks and NO_COLOR (https://no-color.org) is not set.
"""

import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any

ESCAPES = {
    "red": "31",
    "amber": "33",
    "green": "32",
    "timed_out": "36",
    "faulty": "35",
    "bold": "1",
    "dim": "2",
}
_TAB = 4
_MANY_COLUMNS = 10_000  # of what is no terminal: nothing is cut there

# What changes the direction or the order of the text that follows it, or can't be seen.
_SLY = {*range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2060, 0x206A), 0xFEFF, 0x061C}


def clean(text: str | bytes) -> str:
    r"""Return a line of text that does nothing but be seen: `\x1b` for an escape."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    if text.isascii() and text.isprintable():
        return text
    return "".join(_clean(character) for character in text)


def line(text: str | bytes) -> str:
    """Return a line of a file, with its tabs as blanks."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    return clean(text.removesuffix("\r").expandtabs(_TAB))


def columns(text: str) -> int:
    """Return how many columns a text takes."""
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def fitted(text: str, width: int) -> str:
    """Return a text that takes just so many columns: cut, or filled with blanks."""
    if columns(text) > width:
        kept, taken = "", 0
        for character in text:
            taken += _columns(character)
            if taken > width - 1:
                break
            kept += character
        text = kept + "…"
    return text + " " * (width - columns(text))


class Screen:
    """Where a command writes: text, or JSON lines."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self.is_terminal = sys.stdout.isatty()
        self.coloured = self.is_terminal and not os.environ.get("NO_COLOR")
        if os.environ.get("TERM") == "dumb":
            self.coloured = False
        size = shutil.get_terminal_size((80, 24))
        self.width = max(40, size.columns) if self.is_terminal else _MANY_COLUMNS

    def say(self, text: str = "", colour: str = "") -> None:
        """Write a line of text, which is clean."""
        sys.stdout.write(self.painted(text, colour).rstrip(" ") + "\n")

    def record(self, value: dict[str, Any]) -> None:
        """Write a line of JSON, at once: who reads it may wait for it."""
        sys.stdout.write(json.dumps(value) + "\n")
        sys.stdout.flush()

    def painted(self, text: str, colour: str) -> str:
        """Return a text in a colour, where there are colours."""
        if not self.coloured or colour not in ESCAPES or not text:
            return text
        return f"\x1b[{ESCAPES[colour]}m{text}\x1b[0m"

    def row(self, cells: Sequence[str], widths: Sequence[int], colour: str = "") -> None:
        """Write the cells of a row; a negative width puts its cell to the right.

        Where no terminal is, what is too wide is not cut.
        """
        shown = []
        for cell, width in zip(cells, widths, strict=True):
            if width < 0:
                shown.append(cell.rjust(-width))
            elif self.is_terminal or columns(cell) <= width:
                shown.append(fitted(cell, width))
            else:
                shown.append(cell)
        self.say("  ".join(shown).rstrip(), colour)


def complain(text: str) -> None:
    """Write a line to standard error."""
    sys.stdout.flush()
    sys.stderr.write(f"storer: {clean(text)}\n")
    sys.stderr.flush()


def size(count: int) -> str:
    """Return a number of bytes as people read it."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def counted(count: int, one: str) -> str:
    """Return a number of things: `1 kata`, `2 katas`."""
    return f"{count} {one}{'' if count == 1 else 's'}"


def _clean(character: str) -> str:
    number = ord(character)
    if character.isprintable() and number not in _SLY and not 0xD800 <= number < 0xE000:
        return character
    if number == ord("\t"):
        return " "
    return character.encode("unicode_escape").decode("ascii")


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
