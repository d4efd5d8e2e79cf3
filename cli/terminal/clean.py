r"""Make text harmless on a terminal: an escape character becomes `\x1b`.

Everything that goes to a terminal passes through here, in `Screen`, `tables` and `Progress`,
because participants write file names, outputs and reasons.
"""

_TAB = 4

# Characters that are invisible, or change the direction or order of the text that follows.
_INVISIBLE = {
    *range(0x200B, 0x2010),
    *range(0x2028, 0x202F),
    *range(0x2060, 0x206A),
    0xFEFF,
    0x061C,
}


def clean(text: str | bytes) -> str:
    """Return a line of text without anything that a terminal would obey or hide."""
    text = _decoded(text)
    if text.isascii() and text.isprintable():
        return text
    return "".join(_clean(character) for character in text)


def line(text: str | bytes) -> str:
    """Return a line of a file or an output, clean, with its tabs expanded."""
    return clean(_decoded(text).removesuffix("\r").expandtabs(_TAB))


def _decoded(text: str | bytes) -> str:
    return text.decode("utf-8", "backslashreplace") if isinstance(text, bytes) else text


def _clean(character: str) -> str:
    number = ord(character)
    if character.isprintable() and number not in _INVISIBLE and not 0xD800 <= number < 0xE000:
        return character
    if number == ord("\t"):
        return " "
    return character.encode("unicode_escape").decode("ascii")
