"""`storer ls`: which katas there are, and where."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from cli import exits
from cli.client import Client
from cli.terminal.lights import time_json, time_of
from cli.terminal.screen import Screen, clean, columns, complain
from cyberdojo.storer.v1 import storer_pb2

_PAGE = 1000
_HEADINGS = ("ID", "CREATED", "LANGUAGE", "EXERCISE", "AVATARS", "LIGHTS", "NEWEST", "WHERE")
_SHORTEST, _LONGEST = 7, 30
_WIDE = 100  # from here on there is room for the time of day
_DATE, _TIME = 10, 16  # 2019-01-16 12:44
_WHERE = {
    storer_pb2.KATA_SOURCE_DATA_CONTAINER: "container",
    storer_pb2.KATA_SOURCE_ARCHIVE: "archive",
    storer_pb2.KATA_SOURCE_KATAS_DIRECTORY: "directory",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("prefix", nargs="?", default="", help="how the ids begin; all by default")


def run(client: Client, told: argparse.Namespace, screen: Screen) -> int:
    """List them."""
    widths: list[int] = []
    count = 0
    for page in _pages(client, told.prefix):
        count += len(page)
        if screen.as_json:
            for kata in page:
                screen.record(_json(kata))
            continue
        rows = [_row(screen, kata) for kata in page]
        if not widths and rows:
            widths = _widths(screen, rows)
            screen.row(_HEADINGS, widths, "bold")
        for kata, row in zip(page, rows, strict=True):
            screen.row(row, widths, "red" if kata.details.problem else "")
            if kata.details.problem:
                screen.say(f"  {clean(kata.details.problem)}", "red")
    if not count and told.prefix:
        complain(f"no kata begins with {told.prefix}")
    return exits.GOOD


def _pages(client: Client, prefix: str) -> Iterator[list[storer_pb2.ListedKata]]:
    request = storer_pb2.ListKatasRequest(prefix=prefix, page_size=_PAGE, with_details=True)
    while True:
        response = client.stub.ListKatas(request)
        yield list(response.katas)
        if not response.next_page_token:
            return
        request.page_token = response.next_page_token


def _row(screen: Screen, kata: storer_pb2.ListedKata) -> list[str]:
    found = kata.details
    known = kata.HasField("details")
    cut = _TIME if screen.width >= _WIDE else _DATE
    return [
        kata.kata_id,
        time_of(found.created)[:cut] if found.HasField("created") else "",
        clean(found.display_name),
        clean(found.exercise),
        str(found.avatar_count) if known else "",
        str(found.light_count) if known else "",
        time_of(found.newest)[:cut] if found.HasField("newest") else "",
        _WHERE.get(kata.source, "?"),
    ]


def _widths(screen: Screen, rows: list[list[str]]) -> list[int]:
    """Return the columns' widths: those of names give way where the screen is narrow."""
    longest = _LONGEST if screen.is_terminal else screen.width
    language, exercise = (
        max(len(_HEADINGS[place]), *(min(longest, columns(row[place])) for row in rows))
        for place in (2, 3)
    )
    times = _TIME if screen.width >= _WIDE else _DATE
    fixed = [10, times, 0, 0, -7, -6, times, 9]
    spare = screen.width - sum(abs(each) for each in fixed) - 2 * (len(fixed) - 1)
    while language + exercise > spare and max(language, exercise) > _SHORTEST:
        if language >= exercise:
            language -= 1
        else:
            exercise -= 1
    fixed[2], fixed[3] = language, exercise
    return fixed


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
