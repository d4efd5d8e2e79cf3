"""The report for people: a table by image, what differs and why, and what could not be run."""

from collections import Counter
from collections.abc import Mapping

from cli.terminal.screen import Piece, Screen
from cli.terminal.tables import Column, Table
from replay.outcomes import COLOURS, place
from replay.report.counts import (
    ImageCount,
    causes,
    percentile,
    recorded_colours,
    same_percent,
    total,
)

_MAX_LISTED = 200
_MAX_PLACES = 3
_COLUMNS = (
    Column("image", overflow="fold"),
    *(Column(name, is_right=True) for name in ("lights", "ran", "same", "%")),
    *(Column(colour, is_right=True) for colour in COLOURS),
    *(Column(name, is_right=True) for name in ("p50 s", "p99 s")),
)


def show(screen: Screen, counts: dict[str, ImageCount]) -> None:
    """Write the report."""
    if not counts:
        screen.say("no light was found")
        return
    table = Table(*_COLUMNS)
    for name, each in counts.items():
        _add_rows(table, name.removeprefix("cyberdojofoundation/"), each)
    if len(counts) > 1:
        _add_rows(table, "all", total(counts.values()))
    table.show(screen)
    for title, lines in (
        ("Causes", _causes(counts)),
        ("Differing", _differing(counts)),
        ("Not run", _skipped(counts)),
    ):
        if lines:
            screen.say()
            screen.say(title, style="bold")
            for line in lines:
                screen.say(*line)


def _add_rows(table: Table, name: str, counted: ImageCount) -> None:
    """Add a row for an image, and one for each recorded colour.

    A colour's row says how many of its lights have which colour now.
    """
    percent = same_percent(counted)
    now = Counter[str]()
    for (_, colour), lights in counted.confusion.items():
        now[colour] += lights
    seconds = [percentile(counted.seconds, percent) for percent in (50, 99)]
    table.add(
        name,
        *(str(each) for each in (counted.lights, counted.ran, counted.same)),
        "" if percent is None else f"{percent:.1f}",
        *_cells(now),
        *("" if each is None else f"{each:.2f}" for each in seconds),
        style="bold",
    )
    for recorded in recorded_colours(counted):
        row = {colour: counted.confusion[recorded, colour] for colour in COLOURS}
        lights, same = sum(row.values()), row.get(recorded, 0)
        table.add(
            (f"  {recorded}", recorded),
            "",
            str(lights),
            str(same),
            f"{100 * same / lights:.1f}",
            *_cells(row),
            "",
            "",
        )


def _cells(row: Mapping[str, int]) -> list[str]:
    return [str(row.get(colour, 0) or ".") for colour in COLOURS]


def _causes(counts: dict[str, ImageCount]) -> list[list[Piece]]:
    """Return a line for each cause of other colours, those of most lights first."""
    return [
        [
            f"{len(each.lights)}  ",
            (each.recorded, each.recorded),
            " -> ",
            (each.now, each.now),
            f"  {each.cause}",
            (f"  {_some([place(light) for light in each.lights])}", "dim"),
        ]
        for each in causes(counts.values())[:_MAX_LISTED]
    ]


def _some(places: list[str]) -> str:
    """Return the first three places, and how many more there are."""
    more = f" and {len(places) - _MAX_PLACES} more" if len(places) > _MAX_PLACES else ""
    return ", ".join(places[:_MAX_PLACES]) + more


def _differing(counts: dict[str, ImageCount]) -> list[list[Piece]]:
    """Return a line for each light with another colour now."""
    found = [each for counted in counts.values() for each in counted.differing]
    lines: list[list[Piece]] = [
        [
            f"{place(each)}  ",
            (each.recorded, each.recorded),
            " -> ",
            (each.now, each.now),
            (f"  {each.image_name}", "dim"),
            f": {each.reason}" if each.reason else "",
        ]
        for each in found[:_MAX_LISTED]
    ]
    if len(found) > _MAX_LISTED:
        lines.append([f"... and {len(found) - _MAX_LISTED} more: --json FILE lists all"])
    return lines


def _skipped(counts: dict[str, ImageCount]) -> list[list[Piece]]:
    """Return a line for each reason why lights could not be run."""
    lights = Counter[str]()
    places: dict[str, list[str]] = {}
    unknown = Counter[str]()
    for counted in counts.values():
        for each in counted.skipped:
            lights[each.reason] += each.lights or 0
            unknown[each.reason] += each.lights is None
            places.setdefault(each.reason, []).append(place(each))
    lines: list[list[Piece]] = []
    for reason, where in places.items():
        how_many = "an unknown number of" if unknown[reason] else str(lights[reason])
        lines.append([f"{how_many} lights: {reason}", f" ({_some(where)})" if any(where) else ""])
    return lines
