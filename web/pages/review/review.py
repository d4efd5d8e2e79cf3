"""The review: two lights side by side, forward and back by light and by avatar, and played back."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from web.pages import addresses, sessions
from web.pages.review.comparing import Comparing
from web.pages.sessions import Session
from web.parts import Parts
from web.session.moves import Pair, around, chosen, moves
from web.shown_text import shown
from web.words import Trouble, Troubled

MAX_STRIP_LIGHTS = 120
"""The lights of an avatar that one can choose from at once."""

PLAY_SECONDS = (1, 2, 4, 8)
"""How long a light stays while a session is played back."""

_NO_SUCH_PAIR = Trouble(
    "no_such_light",
    404,
    "No such light",
    "This kata has no such animal, or the animal has no light of that number.",
)


def routes(parts: Parts) -> list[BaseRoute]:
    """Return the routes of this page."""
    comparing = Comparing(parts)

    async def review(request: Request) -> Response:
        session = await sessions.read(parts, addresses.kata_of(request))
        if not any(session.lights.values()):
            return parts.rendering.page(
                request, "review_empty.html", session=session, kata_id=session.kata_id
            )
        pair = _asked(session, request)
        if pair is None:
            raise Troubled(_NO_SUCH_PAIR)
        file, is_whole = request.query_params.get("file", ""), "whole" in request.query_params
        compared = await comparing.compare(session.kata_id, pair, file=file, is_whole=is_whole)
        lights = session.lights[pair.avatar]
        strip, before, after = around(lights, pair.now, MAX_STRIP_LIGHTS)
        goes = moves(session.lights, pair)
        return parts.rendering.page(
            request,
            "review.html",
            session=session,
            kata_id=session.kata_id,
            pair=pair,
            was=session.lights[pair.before][pair.was],
            now=lights[pair.now],
            strip=strip,
            strip_before=before,
            strip_after=after,
            moves=goes,
            compared=compared,
            file=file,
            is_whole=is_whole,
            play=_number(request, "play") if goes.forward else None,
            play_seconds=PLAY_SECONDS,
            to=_addresses(session.kata_id),
            shown=shown,
            once=secrets.token_hex(16),
        )

    async def output(request: Request) -> Response:
        number = _number(request, "number")
        avatar = request.query_params.get("avatar", "")
        kata_id = addresses.kata_of(request)
        if number is None:
            raise Troubled(_NO_SUCH_PAIR)
        return PlainTextResponse(await comparing.output(kata_id, avatar, number))

    return [
        Route(f"{addresses.KATA}/review", review),
        Route(f"{addresses.KATA}/review/output", output),
    ]


def _asked(session: Session, request: Request) -> Pair | None:
    """Return the two lights that an address asks for; None if there are no such."""
    query = request.query_params
    return chosen(
        session.lights,
        avatar=query.get("avatar", ""),
        was_avatar=query.get("was_avatar", ""),
        was=_number(request, "was"),
        now=_number(request, "now"),
    )


def _number(request: Request, name: str) -> int | None:
    """Return a number of an address; None if it is none."""
    told = request.query_params.get(name, "")
    digits = told.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > len("999999999"):
        return None
    return int(told)


def _addresses(kata_id: str) -> Callable[..., str]:
    """Return what makes the addresses of reviews: `to(pair, file="hiker.py")`."""

    def to(pair: Pair, **more: object) -> str:
        asked: dict[str, object] = {"avatar": pair.avatar, "was": pair.was, "now": pair.now}
        if pair.was_avatar:
            asked["was_avatar"] = pair.was_avatar
        return f"/kata/{kata_id}/review?{urlencode({**asked, **more})}"

    return to
