"""A kata's front page: its id and link, who is there, and joining as a new animal."""

import asyncio
import secrets

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from cyberdojo.storer.v1 import storer_pb2
from web import qr
from web.access import browsers, https
from web.access.limits import MIB
from web.pages import addresses
from web.parts import Parts
from web.streams import told

MOST_AVATARS = 64


def routes(parts: Parts) -> list[BaseRoute]:
    """Return the routes of this page."""

    async def kata(request: Request) -> Response:
        kata_id = addresses.kata_of(request)
        storer = parts.client.storer
        found, listed = await asyncio.gather(
            storer.GetKata(storer_pb2.GetKataRequest(kata_id=kata_id)),
            storer.ListAvatars(storer_pb2.ListAvatarsRequest(kata_id=kata_id)),
        )
        link = f"{https.public_url(request)}/kata/{kata_id}"
        return parts.rendering.page(
            request,
            "kata.html",
            kata_id=kata_id,
            manifest=found.manifest,
            damaged=[each.avatar for each in found.damaged],
            avatars=[told.light(each.avatar, each.newest) for each in listed.avatars],
            mine=parts.links.avatars_of(request, kata_id),
            is_full=len(found.avatars) >= MOST_AVATARS,
            is_new="new" in request.query_params,
            link=link,
            qr=qr.svg(link, f"QR code of {link}"),
            once=secrets.token_hex(16),
        )

    async def join(request: Request) -> Response:
        kata_id = addresses.kata_of(request)
        form = await parts.bodies.form(request, MIB)
        token = form.get("form_token", "")
        parts.check_form(request, token if isinstance(token, str) else "")
        parts.joins.spend(browsers.address_of(request))
        once = form.get("once", "")
        asked = storer_pb2.StartAvatarRequest(kata_id=kata_id)
        if isinstance(once, str) and len(once) == 32:
            # Who presses twice is one animal.
            asked.request_id = f"{browsers.name_of(request)}-{once}"
        started = await parts.client.call(parts.client.storer.StartAvatar, asked)
        answer = RedirectResponse(f"/kata/{kata_id}/as/{started.avatar}?new", 303)
        parts.links.remember(request, answer, kata_id, started.avatar)
        return answer

    return [
        Route(addresses.KATA, kata),
        Route(f"{addresses.KATA}/join", join, methods=["POST"]),
    ]
