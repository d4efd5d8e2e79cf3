"""The picture of a session to keep: a row for each avatar, its lights along folded time, as SVG.

Nothing in it is a script, a style sheet or an address, so it is the same in a browser, in a
document and on paper. Each light has a shape and a letter beside its colour, and all is said in
words too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from itertools import groupby
from xml.etree import ElementTree as ET

from web.session.lights import WORDS, Light
from web.session.standings import Standing, total
from web.session.timeline import Timeline, fold, for_people

MAX_CELL_LIGHTS = 8
"""The lights of an avatar that are drawn in one column; of more, the last ones, and how many."""

_FONT = "system-ui, 'DejaVu Sans', 'Liberation Sans', sans-serif"
_ROW, _LIGHT, _FOLD, _EMPTY = 28, 20, 64, 10
_NAMES, _SIDE, _TOP, _MARGIN = 110, 150, 92, 20
_TICK_ROOM = 46
# What a session of a few minutes needs besides its lights.
_LEGEND, _TITLE_LETTER = 400, 13
_INK, _PALE, _LINE = "#1b1f24", "#57606a", "#d0d7de"


@dataclass(frozen=True)
class _Symbol:
    """How a light of a colour is drawn, in a square of 24: as `web/templates/lights.html` does."""

    fill: str
    ink: str
    letter: str
    shape: str
    baseline: float = 16.6


_SYMBOLS = {
    "red": _Symbol("#b8322a", "#ffffff", "R", "M3 3h18v18H3z"),
    "amber": _Symbol("#f5b526", "#241a00", "A", "M12 1 23.5 22H.5z", 19.8),
    "green": _Symbol("#35a45a", "#04170a", "G", "M1 12a11 11 0 1 1 22 0a11 11 0 1 1-22 0z"),
    "timed_out": _Symbol("#5d6570", "#ffffff", "T", "m12 .5 11.5 11.5L12 23.5.5 12z"),
    "faulty": _Symbol("#7b4aa0", "#ffffff", "F", "M7 1h10l6 6v10l-6 6H7l-6-6V7z"),
}
# What XML can't have.
_NO_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Cell:
    """The lights of an avatar in one column: the last of them, and how many came before."""

    lights: tuple[Light, ...]
    more: int = 0


def cells(standing: Standing, timeline: Timeline) -> dict[int, Cell]:
    """Return the columns in which an avatar has lights, with those."""
    found = {}
    ordered = sorted(standing.lights, key=lambda light: timeline.column_of(light.time))
    for column, group in groupby(ordered, key=lambda light: timeline.column_of(light.time)):
        lights = tuple(group)
        shown = lights if len(lights) <= MAX_CELL_LIGHTS else lights[-(MAX_CELL_LIGHTS - 1) :]
        found[column] = Cell(shown, len(lights) - len(shown))
    return found


def picture(
    title: str, standings: Sequence[Standing], now: float, *, utc_offset_minutes: int = 0
) -> str:
    """Return the SVG of a session.

    `now` is the time at its right end, in seconds since the epoch; the hours below are those of a
    place that is `utc_offset_minutes` ahead of UTC.
    """
    zone = timezone(timedelta(minutes=utc_offset_minutes))
    times = [time for each in standings for time in (each.joined, *_times(each))]
    timeline = fold(times, now)
    rows = [cells(each, timeline) for each in standings]
    places = _places(timeline, rows)
    drawn = _NAMES + places[-1] + _SIDE
    width = _MARGIN + max(drawn, _LEGEND, len(title) * _TITLE_LETTER) + _MARGIN
    height = _TOP + max(len(standings), 1) * _ROW + 64
    svg = ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "width": str(width),
            "height": str(height),
            "viewBox": f"0 0 {width} {height}",
            "role": "img",
            "aria-labelledby": "title description",
            "font-family": _FONT,
            "font-size": "13",
            "fill": _INK,
        },
    )
    _add(svg, "title", id="title", text=title)
    _add(svg, "desc", id="description", text=description(standings, now))
    _add(svg, "rect", width=width, height=height, fill="#ffffff")
    _add(svg, "text", x=_MARGIN, y=34, font_size=20, font_weight=600, text=title)
    begun = datetime.fromtimestamp(timeline.columns[0].start, UTC).astimezone(zone)
    facts = f"{begun:%Y-%m-%d %H:%M} {_zone_name(utc_offset_minutes)} · {_facts(standings, now)}"
    _add(svg, "text", x=_MARGIN, y=56, fill=_PALE, text=facts)
    _axis(svg, timeline, places, height - 64, zone)
    for place, (standing, row) in enumerate(zip(standings, rows, strict=True)):
        _row(svg, standing, row, places, _TOP + place * _ROW)
    if not standings:
        _add(svg, "text", x=_MARGIN, y=_TOP + 18, fill=_PALE, text="Nobody has joined yet.")
    _legend(svg, height - 16)
    return ET.tostring(svg, encoding="unicode")


def description(standings: Sequence[Standing], now: float) -> str:
    """Return a session in words: one sentence for each avatar."""
    said = [f"{_facts(standings, now)}."]
    for each in standings:
        colours = ", ".join(
            f"{count} {WORDS.get(colour, colour)}" for colour, count in each.counts.most_common()
        )
        passed = f"; {each.passed[0]} of {each.passed[1]} tests pass" if each.passed else ""
        newest = f"; now {each.newest.word}" if each.newest else ""
        said.append(f"{each.avatar}: {colours or 'no test yet'}{newest}{passed}.")
    return " ".join(said)


def _times(standing: Standing) -> list[float]:
    return [light.time for light in standing.lights]


def _facts(standings: Sequence[Standing], now: float) -> str:
    whole = total(standings, now)
    people = f"{whole.avatars} {'animal' if whole.avatars == 1 else 'animals'}"
    return f"{people}, {whole.lights} {'test' if whole.lights == 1 else 'tests'}"


def _zone_name(offset: int) -> str:
    if not offset:
        return "UTC"
    hours, minutes = divmod(abs(offset), 60)
    return f"UTC{'+' if offset > 0 else '-'}{hours:02}:{minutes:02}"


def _places(timeline: Timeline, rows: Sequence[dict[int, Cell]]) -> list[int]:
    """Return where each column begins, from the first one's beginning, and where the last ends."""
    places = [0]
    for place, column in enumerate(timeline.columns):
        held = [row[place] for row in rows if place in row]
        lights = max((len(cell.lights) + (cell.more > 0) * 1.5 for cell in held), default=0)
        width = _FOLD if column.is_fold else max(int(lights * _LIGHT) + 4, _EMPTY)
        places.append(places[-1] + width)
    return places


def _axis(
    svg: ET.Element, timeline: Timeline, places: Sequence[int], bottom: int, zone: timezone
) -> None:
    left = _MARGIN + _NAMES
    free_from = 0
    for place, column in enumerate(timeline.columns):
        x = left + places[place]
        if column.is_fold:
            width = places[place + 1] - places[place]
            _add(
                svg, "rect", x=x, y=_TOP - 8, width=width, height=bottom - _TOP + 8, fill="#f0f2f5"
            )
            _add(
                svg,
                "text",
                x=x + width // 2,
                y=_TOP - 14,
                font_size=10,
                fill=_PALE,
                text_anchor="middle",
                text=for_people(column.seconds),
            )
        elif x >= free_from:
            hour = datetime.fromtimestamp(column.start, UTC).astimezone(zone)
            _add(svg, "line", x1=x, x2=x, y1=_TOP - 8, y2=bottom, stroke=_LINE)
            _add(svg, "text", x=x, y=bottom + 16, font_size=11, fill=_PALE, text=f"{hour:%H:%M}")
            free_from = x + _TICK_ROOM


def _row(
    svg: ET.Element, standing: Standing, row: dict[int, Cell], places: Sequence[int], top: int
) -> None:
    middle = top + _ROW // 2
    left = _MARGIN + _NAMES
    group = _add(svg, "g")
    _add(group, "text", x=_MARGIN, y=middle + 5, font_weight=600, text=standing.avatar)
    _add(group, "line", x1=left, x2=left + places[-1], y1=middle, y2=middle, stroke=_LINE)
    for column, cell in row.items():
        x = left + places[column] + 2
        if cell.more:
            more = f"+{cell.more}"
            _add(group, "text", x=x, y=middle + 4, font_size=11, fill=_PALE, text=more)
            x += int(1.5 * _LIGHT)
        for light in cell.lights:
            _light(group, standing.avatar, light, x + _LIGHT // 2, middle)
            x += _LIGHT
    side = f"{len(standing.lights)} {'test' if len(standing.lights) == 1 else 'tests'}"
    if standing.passed is not None:
        side += f", {standing.passed[0]}/{standing.passed[1]} pass"
    _add(group, "text", x=left + places[-1] + 10, y=middle + 5, fill=_PALE, text=side)


def _light(parent: ET.Element, avatar: str, light: Light, x: int, y: int) -> None:
    group = _add(parent, "g")
    _add(group, "title", text=f"{avatar} {light.sentence}")
    _symbol(group, light.colour, x, y)


def _symbol(parent: ET.Element, colour: str, x: int, y: int) -> None:
    """Draw the shape of a colour around a place, with its letter."""
    symbol = _SYMBOLS.get(colour, _SYMBOLS["faulty"])
    group = _add(parent, "g", transform=f"translate({x - 9} {y - 9}) scale(.75)")
    _add(group, "path", d=symbol.shape, fill=symbol.fill)
    _add(
        group,
        "text",
        x=12,
        y=symbol.baseline,
        font_size=13,
        font_weight=700,
        fill=symbol.ink,
        text_anchor="middle",
        text=symbol.letter,
    )


def _legend(svg: ET.Element, y: int) -> None:
    x = _MARGIN + 8
    for colour in _SYMBOLS:
        group = _add(svg, "g", aria_hidden="true")
        _symbol(group, colour, x, y - 4)
        _add(group, "text", x=x + 14, y=y, font_size=11, fill=_PALE, text=WORDS[colour])
        x += 34 + 7 * len(WORDS[colour])


def _add(parent: ET.Element, tag: str, text: str = "", **attributes: object) -> ET.Element:
    """Add an element; `font_size` stands for `font-size`."""
    named = {name.replace("_", "-"): str(value) for name, value in attributes.items()}
    element = ET.SubElement(parent, tag, named)
    element.text = _NO_XML.sub("\ufffd", text) or None
    return element
