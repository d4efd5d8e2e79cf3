"""`cyber-dojo ls`: list katas, and where they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from cli import exits
from cli.kata_list import (
    FIELDS,
    WHERE,
    Selection,
    filter_options,
    filters_of,
    last_used,
    pages,
    to_json,
)
from cli.storer_command import Session, json_fields, storer_command
from cli.terminal.complaint import complain
from cli.terminal.lights import time_of
from cli.terminal.quantities import size
from cli.terminal.screen import Screen
from cli.terminal.tables import Column, Table
from cyberdojo.storer.v1 import storer_pb2

_WIDE_COLUMNS = 100  # from this width on there is room for the time of day
_DATE_COLUMNS, _TIME_COLUMNS = 10, 16  # 2019-01-16 12:44
_COLUMNS = (
    Column("ID"),
    Column("CREATED"),
    Column("LANGUAGE", overflow="cut"),
    Column("EXERCISE", overflow="cut"),
    Column("AVATARS", is_right=True),
    Column("LIGHTS", is_right=True),
    Column("NEWEST"),
    Column("WHERE"),
)
_SIZE = Column("SIZE", is_right=True)

# The keys to sort by, the largest or newest first.
_KEYS: dict[str, Callable[[storer_pb2.ListedKata], Any]] = {
    "size": lambda kata: kata.details.size_bytes,
    "lights": lambda kata: kata.details.light_count,
    "used": last_used,
}


@storer_command
@click.argument("prefix", default="")
@filter_options
@click.option(
    "--sort",
    type=click.Choice(list(_KEYS)),
    help="The largest, or the most recently used, first. By default in the order of the ids.",
)
@click.option("--limit", type=click.IntRange(1), metavar="NUMBER", help="Only the first so many.")
@click.option(
    "--sizes", is_flag=True, help="Measure katas in data-containers; --sort size does so too."
)
@json_fields(*FIELDS)
def command(session: Session, prefix: str, **options: Any) -> int:
    """List all katas, or those whose ids begin with PREFIX in any case, wherever they are.

    None is brought back from the archive: of archived katas its index is shown.
    """
    screen = session.screen
    selection = Selection(filters_of(options))
    with_sizes = options["sizes"] or options["sort"] == "size" or "bytes" in screen.fields
    rest = options["limit"]
    count = 0
    held: list[storer_pb2.ListedKata] = []
    for page in pages(session.client, prefix, with_sizes=with_sizes):
        selected = selection.of(page)
        if options["sort"]:
            held += selected
            continue
        selected = selected[: None if rest is None else rest - count]
        _write(screen, selected, with_sizes=with_sizes, with_headings=not count)
        count += len(selected)
        if count == rest:
            break
    if options["sort"]:
        held.sort(key=_KEYS[options["sort"]], reverse=True)
        held = held[:rest]
        _write(screen, held, with_sizes=with_sizes, with_headings=True)
        count = len(held)
    selection.complain_of_left_out()
    if not count and prefix:
        complain(f"no kata's id begins with {prefix}")
    return exits.GOOD


def _write(
    screen: Screen,
    katas: list[storer_pb2.ListedKata],
    *,
    with_sizes: bool,
    with_headings: bool,
) -> None:
    if screen.as_json:
        for kata in katas:
            screen.record(to_json(kata))
    elif katas:
        show(screen, katas, with_sizes=with_sizes, with_headings=with_headings)


def show(
    screen: Screen,
    katas: list[storer_pb2.ListedKata],
    *,
    with_sizes: bool = False,
    with_headings: bool = True,
) -> None:
    """Write a table of katas."""
    table = Table(*_COLUMNS, *([_SIZE] if with_sizes else []))
    for kata in katas:
        row = _row(screen, kata)
        if with_sizes:
            measured = kata.details.HasField("size_bytes")
            row.append(size(kata.details.size_bytes) if measured else "")
        table.add(*row, style="red" if kata.details.problem else "")
    table.show(screen, with_headings=with_headings)
    for kata in katas:
        if kata.details.problem:
            screen.say(f"{kata.kata_id}: {kata.details.problem}", style="red")


def _row(screen: Screen, kata: storer_pb2.ListedKata) -> list[str]:
    found = kata.details
    known = kata.HasField("details")
    cut = _TIME_COLUMNS if screen.width >= _WIDE_COLUMNS else _DATE_COLUMNS
    return [
        kata.kata_id,
        time_of(found.created)[:cut] if found.HasField("created") else "",
        found.display_name,
        found.exercise,
        str(found.avatar_count) if known else "",
        str(found.light_count) if known else "",
        time_of(found.newest)[:cut] if found.HasField("newest") else "",
        WHERE.get(kata.source, "?"),
    ]
