"""Text of participants, to be shown: nothing in it is invisible, or changes the order of the rest.

Jinja escapes what HTML would obey. What is left are characters that a reader could not see, or that
have a line read otherwise than it is: those are shown by their numbers.
"""

import re

from markupsafe import Markup, escape

# What a terminal would have made colours of: ESC [ … letter, and ESC ] … BEL.
_TERMINAL = re.compile(r"\x1b\[[0-9;:?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]{0,1000}(?:\x07|\x1b\\)")
_ODD = re.compile(
    "[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202f"
    "\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)

_SPAN = Markup('<span class="odd" title="an invisible character">{}</span>')


def shown(text: str) -> Markup:
    """Return a text for HTML, with odd characters by their numbers: `U+202E`."""
    if not _ODD.search(text):
        return escape(text)
    parts: list[Markup] = []
    begin = 0
    for found in _ODD.finditer(text):
        parts += [escape(text[begin : found.start()]), _SPAN.format(_number(found[0]))]
        begin = found.end()
    return Markup().join([*parts, escape(text[begin:])])


def numbered(text: str) -> str:
    """Return a text with odd characters by their numbers, for places that have no elements."""
    return _ODD.sub(lambda found: _number(found[0]), text)


def _number(character: str) -> str:
    return f"U+{ord(character):04X}"


def without_colours(text: str) -> str:
    """Return an output without what colours it on a terminal."""
    return _TERMINAL.sub("", text)


def ends(text: str, most: int) -> tuple[str, int, str]:
    """Return the beginning and the end of a text, and how many characters between are left out."""
    if len(text) <= most:
        return text, 0, ""
    return text[: most // 2], len(text) - most // 2 * 2, text[-(most // 2) :]
