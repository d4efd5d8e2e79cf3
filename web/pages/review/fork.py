"""Forks: from a light on to a kata of one's own, or to another animal of the same kata."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from cyberdojo.storer.v1 import storer_pb2
from web.access import browsers
from web.access.limits import MIB
from web.pages import addresses
from web.parts import Parts
from web.words import Trouble, Troubled

_ONCE_LENGTH = 32
_KINDS = ("files", "history", "animal")
_MALFORMED = Trouble(
    "malformed", 400, "That can't be", "The form lacks which light to go on from. Reload the page."
)


def routes(parts: Parts) -> list[BaseRoute]:
    """Return the route of forks."""

    async def fork(request: Request) -> Response:
        form = await parts.bodies.form(request, MIB)

        def told(name: str) -> str:
            value = form.get(name, "")
            return value if isinstance(value, str) else ""

        parts.check_form(request, told("form_token"))
        kata_id = addresses.kata_of(request)
        avatar, number, once, kind = (told(name) for name in ("avatar", "number", "once", "kind"))
        is_number = number.isascii() and number.isdigit() and len(number) < len("1000000000")
        if not is_number or kind not in _KINDS:
            raise Troubled(_MALFORMED)
        # Who presses a button twice gets one kata, also after going back. The browser's name is in
        # it, so that nobody else's form can lead to the same.
        is_once = len(once) == _ONCE_LENGTH
        request_id = f"{browsers.name_of(request)}-{once}-{kind}" if is_once else ""
        if kind == "animal":
            source = storer_pb2.LightSource(
                kata_id=kata_id, avatar=avatar, light_number=int(number)
            )
            return await _started(parts, request, source, request_id)
        parts.new_katas.spend(browsers.address_of(request))
        with_avatar = kind == "history"
        asked = storer_pb2.ForkKataRequest(
            kata_id=kata_id,
            avatar=avatar,
            light_number=int(number),
            with_avatar=with_avatar,
            request_id=request_id,
        )
        forked = await parts.client.call(parts.client.storer.ForkKata, asked, seconds=120)
        if not with_avatar:
            return RedirectResponse(f"/kata/{forked.kata_id}?new", 303)
        answer = RedirectResponse(f"/kata/{forked.kata_id}/as/{avatar}", 303)
        parts.links.remember(request, answer, forked.kata_id, avatar)
        return answer

    return [Route(f"{addresses.KATA}/fork", fork, methods=["POST"])]


async def _started(
    parts: Parts, request: Request, source: storer_pb2.LightSource, request_id: str
) -> Response:
    """Start another animal in the same kata, with the files of a light."""
    parts.joins.spend(browsers.address_of(request))
    kata_id = source.kata_id
    asked = storer_pb2.StartAvatarRequest(kata_id=kata_id, source=source, request_id=request_id)
    started = await parts.client.call(parts.client.storer.StartAvatar, asked)
    answer = RedirectResponse(f"/kata/{kata_id}/as/{started.avatar}?new", 303)
    parts.links.remember(request, answer, kata_id, started.avatar)
    return answer
