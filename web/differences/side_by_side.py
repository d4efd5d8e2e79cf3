"""A file's difference side by side: lines paired, unchanged stretches folded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby

from web.differences.lines import FileLines, Line
from web.differences.within_line import Piece, is_alike, likeness, marked, weights

CONTEXT = 3
"""The unchanged lines that are shown before and after a changed one."""

MAX_ROWS = 3000
"""The rows of one file that are shown; a page has to stay small."""

MAX_CHARACTERS = 400_000
"""The characters of one file that are shown."""

MAX_PAIRS = 10_000
"""The pairs of lines of one file that are compared to find those that belong together."""

MAX_WEIGHED_CHARACTERS = 400_000
"""The characters of those lines."""

MAX_MARKED_CHARACTERS = 200_000
"""What of one file is compared within lines."""


@dataclass(frozen=True)
class Side:
    """One side of a row: a line, in pieces."""

    number: int
    pieces: tuple[Piece, ...]
    no_newline: bool = False


@dataclass(frozen=True)
class Row:
    """A line beside what it was, or beside nothing. `change`: same, changed, added or deleted."""

    was: Side | None
    now: Side | None
    change: str

    @property
    def size(self) -> int:
        """How many characters it has, the least of a row counted in."""
        sides = (each for each in (self.was, self.now) if each is not None)
        return 100 + sum(len(piece.text) for side in sides for piece in side.pieces)


@dataclass(frozen=True)
class Fold:
    """A stretch of lines that both have and that is not shown, with its first lines' numbers."""

    count: int
    was: int
    now: int
    size: int = 100


@dataclass(frozen=True)
class FileView:
    """A file's difference, to be shown. `left_out` is how many lines are not."""

    file: FileLines
    rows: tuple[Row | Fold, ...]
    left_out: int = 0

    @property
    def has_folds(self) -> bool:
        """Say whether lines are folded."""
        return any(isinstance(row, Fold) for row in self.rows)


def side_by_side(
    file: FileLines, *, context: int | None = CONTEXT, max_rows: int = MAX_ROWS
) -> FileView:
    """Return a file's difference side by side; with `context` None nothing is folded.

    The work is bounded whatever the file is: what is beyond `max_rows` or MAX_CHARACTERS is only
    counted.
    """
    if file.change == "unchanged":
        context = None
    pairing = _Pairing()
    rows: list[Row | Fold] = []
    left_out = 0
    place = 0
    for is_same, group in groupby(file.lines, key=lambda line: line.was > 0 and line.now > 0):
        lines = list(group)
        is_first, place = place == 0, place + len(lines)
        if len(rows) >= max_rows:
            left_out += len(lines)
        elif is_same:
            is_last = place == len(file.lines)
            rows += _unchanged(lines, context, is_first=is_first, is_last=is_last)
        else:
            rows += pairing.rows(lines)
    sizes = accumulate(row.size for row in rows[:max_rows])
    shown = [row for row, size in zip(rows, sizes, strict=False) if size <= MAX_CHARACTERS]
    return FileView(file, tuple(shown), left_out + len(rows) - len(shown))


def _unchanged(
    lines: Sequence[Line], context: int | None, *, is_first: bool, is_last: bool
) -> list[Row | Fold]:
    """Return the rows of lines that both have, of which those far from changed ones fold."""
    if context is None:
        return [_same(line) for line in lines]
    begin = 0 if is_first else context
    end = len(lines) if is_last else len(lines) - context
    if end - begin <= 1:  # a fold of one line would take as much room as the line
        return [_same(line) for line in lines]
    fold = Fold(end - begin, lines[begin].was, lines[begin].now)
    before, after = lines[:begin], lines[end:]
    return [*map(_same, before), fold, *map(_same, after)]


def _same(line: Line) -> Row:
    piece = (Piece(line.text),) if line.text else ()
    was, now = (Side(number, piece, line.no_newline) for number in (line.was, line.now))
    return Row(was, now, "same")


class _Pairing:
    """Pairs the changed lines of one file, with work that is bounded for all of it."""

    def __init__(self) -> None:
        self._pairs_left = MAX_PAIRS
        self._weighed_left = MAX_WEIGHED_CHARACTERS
        self._characters_left = MAX_MARKED_CHARACTERS

    def rows(self, lines: Sequence[Line]) -> list[Row]:
        """Return the rows of one stretch of changed lines."""
        deleted = [line for line in lines if line.now == 0]
        added = [line for line in lines if line.was == 0]
        pairs = len(deleted) * len(added)
        weighed = sum(len(line.text) for line in lines) if pairs else 0
        is_compared = pairs <= self._pairs_left and weighed <= self._weighed_left
        if is_compared:
            self._pairs_left -= pairs
            self._weighed_left -= weighed
        return [self._row(was, now) for was, now in _pairs(deleted, added, is_compared=is_compared)]

    def _row(self, was: Line | None, now: Line | None) -> Row:
        if was is None or now is None:
            return Row(_whole(was), _whole(now), "added" if was is None else "deleted")
        self._characters_left -= len(was.text) + len(now.text)
        before, after = marked(was.text, now.text) if self._characters_left > 0 else _both(was, now)
        return Row(
            Side(was.was, tuple(before), was.no_newline),
            Side(now.now, tuple(after), now.no_newline),
            "changed",
        )


def _whole(line: Line | None) -> Side | None:
    """Return a line that has nothing beside it."""
    if line is None:
        return None
    return Side(line.was or line.now, (Piece(line.text),) if line.text else (), line.no_newline)


def _both(was: Line, now: Line) -> tuple[list[Piece], list[Piece]]:
    return [Piece(was.text, is_changed=True)], [Piece(now.text, is_changed=True)]


def _pairs(
    deleted: Sequence[Line], added: Sequence[Line], *, is_compared: bool
) -> list[tuple[Line | None, Line | None]]:
    """Return which deleted line became which added one: those that are most alike, in order."""
    if not is_compared:
        matches = [(place, place) for place in range(min(len(deleted), len(added)))]
    else:
        matches = _matches(
            [weights(line.text) for line in deleted], [weights(line.text) for line in added]
        )
    found: list[tuple[Line | None, Line | None]] = []
    was_from = now_from = 0
    for was, now in [*matches, (len(deleted), len(added))]:
        found += [(line, None) for line in deleted[was_from:was]]
        found += [(None, line) for line in added[now_from:now]]
        if was < len(deleted) and now < len(added):
            found.append((deleted[was], added[now]))
        was_from, now_from = was + 1, now + 1
    return found


def _matches(was: Sequence[Counter[str]], now: Sequence[Counter[str]]) -> list[tuple[int, int]]:
    """Return the pairs, in the order of both, whose likenesses add up to most."""
    likenesses = [[likeness(one, other) for other in now] for one in was]
    best = [[0.0] * (len(now) + 1) for _ in range(len(was) + 1)]
    for row in range(len(was) - 1, -1, -1):
        for column in range(len(now) - 1, -1, -1):
            apart = max(best[row + 1][column], best[row][column + 1])
            share = likenesses[row][column]
            together = share + best[row + 1][column + 1] if is_alike(share) else 0.0
            best[row][column] = max(apart, together)
    found = []
    row = column = 0
    while row < len(was) and column < len(now):
        share = likenesses[row][column]
        if is_alike(share) and best[row][column] == share + best[row + 1][column + 1]:
            found.append((row, column))
            row, column = row + 1, column + 1
        elif best[row + 1][column] >= best[row][column + 1]:
            row += 1
        else:
            column += 1
    return found
