"""Differences within a line, by words, and by characters where one word became another."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher

MAX_WORDS = 400
"""The words of a line that are compared: the work grows with their square."""

_WORD = re.compile(r"\w+|\s+|[^\w\s]")
# The parts that a name has: snake_case, camelCase, digits; and every sign.
_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W_]+|[^\w\s]")
_ALIKE = 0.4


@dataclass(frozen=True)
class Piece:
    """A part of a line; `is_changed` says that the other line has something else there."""

    text: str
    is_changed: bool = False


def words(line: str) -> list[str]:
    """Return the words of a line: names, stretches of space, each other character by itself."""
    return _WORD.findall(line)


def likeness(was: Counter[str], now: Counter[str]) -> float:
    """Return how much of two lines is the same, 0 to 1, by `weights` of both."""
    total = was.total() + now.total()
    return 2 * (was & now).total() / total if total else 1.0


def weights(line: str) -> Counter[str]:
    """Return the parts of a line, each as often as it has characters; spaces count for nothing.

    `test_numbers` and `testNumbers` have two parts: a name that got longer is the same line still.
    """
    found: Counter[str] = Counter()
    for part in _PART.findall(line):
        found[part] += len(part)
    return found


def is_alike(share: float) -> bool:
    """Say whether two lines with such a likeness are one that was changed, not two."""
    return share >= _ALIKE


def marked(was: str, now: str) -> tuple[list[Piece], list[Piece]]:
    """Return both lines in pieces, with what differs marked.

    Lines that are too long are one piece each, which is marked.
    """
    old, new = words(was), words(now)
    if max(len(old), len(new)) > MAX_WORDS:
        return [Piece(was, is_changed=True)], [Piece(now, is_changed=True)]
    before: list[Piece] = []
    after: list[Piece] = []
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    for tag, old_from, old_to, new_from, new_to in matcher.get_opcodes():
        old_part, new_part = "".join(old[old_from:old_to]), "".join(new[new_from:new_to])
        if tag == "equal":
            before.append(Piece(old_part))
            after.append(Piece(new_part))
        elif old_to - old_from == new_to - new_from == 1:
            one, other = _within_word(old_part, new_part)
            before += one
            after += other
        else:
            before.append(Piece(old_part, is_changed=True))
            after.append(Piece(new_part, is_changed=True))
    return _joined(before), _joined(after)


def _within_word(was: str, now: str) -> tuple[list[Piece], list[Piece]]:
    """Mark the characters that differ, if at least half of the shorter word is the same."""
    shorter = min(len(was), len(now))
    first = 0
    while first < shorter and was[first] == now[first]:
        first += 1
    last = 0
    while last < shorter - first and was[-1 - last] == now[-1 - last]:
        last += 1
    if 2 * (first + last) < shorter:
        return [Piece(was, is_changed=True)], [Piece(now, is_changed=True)]
    return _around(was, first, last), _around(now, first, last)


def _around(word: str, first: int, last: int) -> list[Piece]:
    end = len(word) - last
    return [Piece(word[:first]), Piece(word[first:end], is_changed=True), Piece(word[end:])]


def _joined(pieces: Iterable[Piece]) -> list[Piece]:
    """Join neighbours of one kind, and changed ones with nothing but a space between them."""
    found: list[Piece] = []
    for piece in pieces:
        if not piece.text:
            continue
        if (
            piece.is_changed
            and len(found) > 1
            and found[-1].text == " "
            and not found[-1].is_changed
        ):
            space, before = found.pop(), found.pop()
            found.append(Piece(before.text + space.text + piece.text, is_changed=True))
        elif found and found[-1].is_changed == piece.is_changed:
            found[-1] = Piece(found[-1].text + piece.text, piece.is_changed)
        else:
            found.append(piece)
    return found
