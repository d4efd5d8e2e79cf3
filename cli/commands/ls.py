"""`cyber-dojo ls`: list katas, and where they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from cli import exits
from cli.client import Client
from cli.storer_command import Session, storer_command
from cli.terminal.complaint import complain
from cli.terminal.lights import time_json, time_of
from cli.terminal.screen import Screen
from cli.terminal.tables import Column, Table
from cyber_dojo_client import pages
from cyberdojo.storer.v1 import storer_pb2

_PAGE = 1000
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
_WHERE = {
    storer_pb2.KATA_SOURCE_DATA_CONTAINER: "container",
    storer_pb2.KATA_SOURCE_ARCHIVE: "archive",
    storer_pb2.KATA_SOURCE_KATAS_DIRECTORY: "directory",
}


@storer_command
@click.argument("prefix", default="")
def command(session: Session, prefix: str) -> int:
    """List all katas, or those whose ids begin with PREFIX in any case, wherever they are."""
    count = 0
    for page in _pages(session.client, prefix):
        if session.screen.as_json:
            for kata in page:
                session.screen.record(_json(kata))
        elif page:
            _show(session.screen, page, with_headings=not count)
        count += len(page)
    if not count and prefix:
        complain(f"no kata's id begins with {prefix}")
    return exits.GOOD


def _show(screen: Screen, page: list[storer_pb2.ListedKata], *, with_headings: bool) -> None:
    table = Table(*_COLUMNS)
    for kata in page:
        table.add(*_row(screen, kata), style="red" if kata.details.problem else "")
    table.show(screen, with_headings=with_headings)
    for kata in page:
        if kata.details.problem:
            screen.say(f"{kata.kata_id}: {kata.details.problem}", style="red")


def _pages(client: Client, prefix: str) -> Iterator[list[storer_pb2.ListedKata]]:
    request = storer_pb2.ListKatasRequest(
        prefix=prefix, page_size=_PAGE, with_details=True, ignore_case=True
    )
    for page in pages(client.stub.ListKatas, request):
        yield list(page.katas)


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
        _WHERE.get(kata.source, "?"),
    ]


def _json(kata: storer_pb2.ListedKata) -> dict[str, Any]:
    found = kata.details
    known = kata.HasField("details")
    return {
        "id": kata.kata_id,
        "created": time_json(found.created) if found.HasField("created") else None,
        "language": found.display_name or None,
        "exercise": found.exercise or None,
        "avatars": found.avatar_count if known else None,
        "lights": found.light_count if known else None,
        "newest": time_json(found.newest) if found.HasField("newest") else None,
        "where": _WHERE.get(kata.source, "unknown"),
        "in_archive": kata.in_archive,
        "problem": found.problem or None,
    }
