"""The picture of a session to keep, as SVG and as PNG."""

from __future__ import annotations

import asyncio

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from web.pages import addresses, sessions
from web.parts import Parts
from web.session.picture import picture
from web.session.png import Painter, PictureFailed
from web.words import Trouble, Troubled

_log = structlog.get_logger()

_MAX_OFFSET_MINUTES = 14 * 60
# An SVG is a document of its own, which a browser may open: it gets nothing at all.
_POLICY = "default-src 'none'; frame-ancestors 'none'"
_NO_PNG = Trouble(
    "no_picture",
    503,
    "The picture could not be drawn",
    "The session may be too large for a PNG. The picture as SVG has all of it.",
)


def routes(parts: Parts) -> list[BaseRoute]:
    """Return the routes of the picture."""
    painter = Painter()

    async def drawn(request: Request) -> tuple[str, str]:
        session = await sessions.read(parts, addresses.kata_of(request))
        svg = await asyncio.to_thread(
            picture,
            f"{session.title} · {session.kata_id}",
            session.standings,
            session.now,
            utc_offset_minutes=_offset(request),
        )
        return session.kata_id, svg

    async def svg(request: Request) -> Response:
        kata_id, content = await drawn(request)
        return _file(content.encode(), f"{kata_id}.svg", "image/svg+xml")

    async def png(request: Request) -> Response:
        kata_id, content = await drawn(request)
        try:
            return _file(await painter.png(content), f"{kata_id}.png", "image/png")
        except PictureFailed as error:
            _log.warning("a picture could not be drawn", kata_id=kata_id, reason=str(error))
            raise Troubled(_NO_PNG) from error

    return [
        Route(f"{addresses.KATA}/picture.svg", svg),
        Route(f"{addresses.KATA}/picture.png", png),
    ]


def _offset(request: Request) -> int:
    """Return how far the hours of a picture are ahead of UTC, in minutes."""
    told = request.query_params.get("offset", "")
    try:
        minutes = int(told) if len(told) <= len("-840") else 0
    except ValueError:
        return 0
    return max(-_MAX_OFFSET_MINUTES, min(minutes, _MAX_OFFSET_MINUTES))


def _file(content: bytes, name: str, kind: str) -> Response:
    headers = {
        "Content-Disposition": f'inline; filename="{name}"',
        "Content-Security-Policy": _POLICY,
    }
    return Response(content, headers=headers, media_type=kind)
