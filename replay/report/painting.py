"""Colours on a terminal, and nowhere else."""

import os
from typing import TextIO

_CODES = {
    "red": "31",
    "amber": "33",
    "green": "32",
    "timed_out": "35",
    "faulty": "35",
    "bold": "1",
    "dim": "2",
}


class Painter:
    """Paints what is written to a stream, if that is a terminal and NO_COLOR is not set."""

    def __init__(self, stream: TextIO) -> None:
        self.is_terminal = stream.isatty()
        self._paints = self.is_terminal and not os.environ.get("NO_COLOR")

    def __call__(self, text: str, *names: str) -> str:
        """Return the text in these colours; a name that is no colour leaves it as it is."""
        codes = [_CODES[name] for name in names if name in _CODES]
        if not self._paints or not codes or not text.strip():
            return text
        return f"\x1b[{';'.join(codes)}m{text}\x1b[0m"


def printable(text: str) -> str:
    """Return what a participant's program wrote, harmless for a terminal, tabs as blanks."""
    return "".join(
        each if each.isprintable() else "·" for each in text.expandtabs(4).rstrip("\r\n")
    )
