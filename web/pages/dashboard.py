"""The dashboard: everybody's lights as they happen, along folded time."""

from __future__ import annotations

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from web.pages import addresses, sessions
from web.parts import Parts
from web.session.lights import Light
from web.session.picture import cells
from web.session.standings import FILTERS, ORDERS, arranged, total
from web.session.timeline import Column, Timeline, fold, for_people
from web.streams import events

_COLUMNS_OF_LABEL = 5


def routes(parts: Parts) -> list[BaseRoute]:
    """Return the routes of this page."""

    async def dashboard(request: Request) -> Response:
        session = await sessions.read(parts, addresses.kata_of(request))
        order = _one_of(request.query_params.get("order", ""), list(ORDERS))
        show = _one_of(request.query_params.get("show", ""), list(FILTERS))
        everybody = session.standings
        timeline = fold(
            [time for each in everybody for time in (each.joined, *_times(each.lights))],
            session.now,
        )
        return parts.rendering.page(
            request,
            "dashboard.html",
            session=session,
            kata_id=session.kata_id,
            orders=ORDERS,
            filters=FILTERS,
            order=order,
            show=show,
            total=total(everybody, session.now),
            rows=[
                (each, cells(each, timeline))
                for each in arranged(everybody, session.now, order=order, show=show)
            ],
            columns=_labelled(timeline),
            for_people=for_people,
            hour=f"{datetime.fromtimestamp(session.now, UTC):%H:%M}",
            data={
                "kata_id": session.kata_id,
                "now": session.now,
                "damaged": session.damaged,
            },
        )

    async def happening(request: Request) -> Response:
        return events.answer(
            request, parts.streams, parts.watches.events(addresses.kata_of(request))
        )

    return [
        Route(f"{addresses.KATA}/dashboard", dashboard),
        Route(f"{addresses.KATA}/dashboard/events", happening),
    ]


def _one_of(word: str, words: list[str]) -> str:
    return word if word in words else words[0]


def _times(lights: tuple[Light, ...]) -> list[float]:
    return [light.time for light in lights]


def _labelled(timeline: Timeline) -> list[tuple[Column, str, bool]]:
    """Return the columns, each with what is above it, and whether there is room to show that."""
    found = []
    since = 0
    for column in timeline.columns:
        if column.is_fold:
            found.append((column, for_people(column.seconds), True))
            since = 0
        else:
            hour = f"{datetime.fromtimestamp(column.start, UTC):%H:%M}"
            found.append((column, hour, since == 0))
            since = (since + 1) % _COLUMNS_OF_LABEL
    return found
