"""Tables: fitted to the width by rich on a terminal, and plain elsewhere.

Where there is no terminal nothing is cut or wrapped, and each row is one line.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from cli.terminal.screen import Pieces, Screen, plain, rich_text

_GAP = 2
_MARK_COLUMNS = 3  # between the two sides

Side = tuple[str, Pieces]  # a label, and a text


@dataclass(frozen=True)
class Column:
    """A column. `overflow` says what happens to a text that is too wide for the terminal."""

    heading: str
    is_right: bool = False
    overflow: Literal["", "cut", "fold"] = ""


class Table:
    """Rows under headings."""

    def __init__(self, *columns: Column) -> None:
        self._columns = columns
        self._rows: list[tuple[tuple[Pieces, ...], str]] = []

    def add(self, *cells: Pieces, style: str = "") -> None:
        """Add a row."""
        self._rows.append((cells, style))

    def show(self, screen: Screen, *, with_headings: bool = True) -> None:
        """Write the table."""
        if screen.is_terminal:
            self._show_rich(screen, with_headings=with_headings)
        else:
            self._show_plain(screen, with_headings=with_headings)

    def _show_plain(self, screen: Screen, *, with_headings: bool) -> None:
        from rich.cells import cell_len  # noqa: PLC0415 - small, and only tables need it

        rows = [[column.heading for column in self._columns]]
        rows += [[plain(cell) for cell in cells] for cells, _ in self._rows]
        widths = [max(map(cell_len, cells)) for cells in zip(*rows, strict=True)]
        for row in rows if with_headings else rows[1:]:
            shown = []
            for cell, width, column in zip(row, widths, self._columns, strict=True):
                blanks = " " * (width - cell_len(cell))
                shown.append(blanks + cell if column.is_right else cell + blanks)
            screen.say((" " * _GAP).join(shown))

    def _show_rich(self, screen: Screen, *, with_headings: bool) -> None:
        from rich import table  # noqa: PLC0415 - only where it is needed

        grid = table.Table(
            box=None,
            pad_edge=False,
            padding=(0, _GAP, 0, 0),
            show_header=with_headings,
            header_style="bold",
        )
        for column in self._columns:
            grid.add_column(
                rich_text(column.heading),
                justify="right" if column.is_right else "left",
                no_wrap=not column.overflow,
            )
        for cells, style in self._rows:
            shown = [rich_text(cell, style) for cell in cells]
            for text, column in zip(shown, self._columns, strict=True):
                text.no_wrap = column.overflow != "fold"
                text.overflow = "fold" if column.overflow == "fold" else "ellipsis"
            grid.add_row(*shown)
        screen.console.print(grid)


def side_by_side(
    screen: Screen, rows: Iterable[tuple[Side, str, Side]], width: int, label_columns: int = 0
) -> None:
    """Write pairs of texts side by side, `width` columns wide, with a mark between the two.

    `label_columns` is the width of each side's label; without it, labels are left out.
    """
    from rich import table  # noqa: PLC0415 - only where it is needed

    text_columns = (width - _MARK_COLUMNS) // 2 - label_columns
    grid = table.Table(box=None, pad_edge=False, padding=0, show_header=False)
    labels = [label_columns] if label_columns else []  # rich makes every column 1 wide at least
    for columns in (*labels, text_columns, _MARK_COLUMNS, *labels, text_columns):
        grid.add_column(width=columns, overflow="fold")
    for left, mark, right in rows:
        sides = [map(rich_text, side if label_columns else side[1:]) for side in (left, right)]
        grid.add_row(*sides[0], f" {mark} ", *sides[1])
    screen.console.print(grid, width=width)
