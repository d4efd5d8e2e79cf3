"""The report for people: a table by image, what differs, and what could not be run."""

from collections import Counter

from replay.outcomes import COLOURS, place
from replay.report.counts import ImageCount, percentile, recorded_colours, same_percent, total
from replay.report.painting import Painter

_MAX_LISTED = 200


def table(counts: dict[str, ImageCount], paint: Painter) -> list[str]:
    """Return the table's lines.

    An image has a line, and under it one for each colour that was recorded: how many of those
    lights have which colour now.
    """
    if not counts:
        return ["no light was found"]
    names = {name: name.removeprefix("cyberdojofoundation/") for name in counts}
    width = max(len("recorded"), *map(len, names.values()))
    head = (
        f"{'image':{width}}  {'lights':>6} {'ran':>6} {'same':>6} {'%':>6}  "
        + " ".join(f"{colour:>9}" for colour in COLOURS)
        + f"  {'p50 s':>7} {'p99 s':>7}"
    )
    lines = [paint(head, "bold")]
    for name, each in counts.items():
        lines += _rows(names[name], each, width, paint)
    if len(counts) > 1:
        lines += _rows("all", total(counts.values()), width, paint)
    return lines


def _rows(name: str, counted: ImageCount, width: int, paint: Painter) -> list[str]:
    percent = same_percent(counted)
    first = (
        f"{name:{width}}  {counted.lights:6} {counted.ran:6} {counted.same:6} "
        f"{'' if percent is None else f'{percent:.1f}':>6}  "
    )
    now = Counter[str]()
    for (_, colour), lights in counted.confusion.items():
        now[colour] += lights
    seconds = [percentile(counted.seconds, percent) for percent in (50, 99)]
    last = " ".join(f"{'' if each is None else f'{each:.2f}':>7}" for each in seconds)
    lines = [f"{paint(first, 'bold')}{_cells(now)}  {last}"]
    for recorded in recorded_colours(counted):
        row = {colour: counted.confusion[recorded, colour] for colour in COLOURS}
        lights, same = sum(row.values()), row.get(recorded, 0)
        label = paint(f"{'  ' + recorded:{width}}", recorded)
        lines.append(
            f"{label}  {'':6} {lights:6} {same:6} {100 * same / lights:6.1f}  {_cells(row)}"
        )
    return lines


def _cells(row: dict[str, int] | Counter[str]) -> str:
    return " ".join(f"{row.get(colour, 0) or '.':>9}" for colour in COLOURS)


def differing(counts: dict[str, ImageCount], paint: Painter) -> list[str]:
    """Return a line for each light whose colour is another now."""
    found = [each for counted in counts.values() for each in counted.differing]
    lines = [
        f"{place(each)}  "
        f"{paint(each.recorded, each.recorded)} -> {paint(each.now, each.now)}  "
        f"{paint(each.image_name, 'dim')}{': ' + each.reason if each.reason else ''}"
        for each in found[:_MAX_LISTED]
    ]
    if len(found) > _MAX_LISTED:
        lines.append(f"... and {len(found) - _MAX_LISTED} more, which --json has")
    return lines


def skipped(counts: dict[str, ImageCount]) -> list[str]:
    """Return a line for each reason for which something could not be run."""
    lights = Counter[str]()
    places: dict[str, list[str]] = {}
    unknown = Counter[str]()
    for counted in counts.values():
        for each in counted.skipped:
            lights[each.reason] += each.lights or 0
            unknown[each.reason] += each.lights is None
            places.setdefault(each.reason, []).append(place(each))
    lines = []
    for reason, where in places.items():
        how_many = "nobody knows how many" if unknown[reason] else str(lights[reason])
        shown = ", ".join(where[:3]) + (f" and {len(where) - 3} more" if len(where) > 3 else "")
        lines.append(f"{how_many} lights: {reason}" + (f" ({shown})" if any(where) else ""))
    return lines
