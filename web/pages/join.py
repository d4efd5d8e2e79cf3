"""Joining: from an id, or its beginning, to the kata; and from a personal link to an avatar."""

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from cyberdojo.storer.v1 import storer_pb2
from dojo import kata_ids
from web.pages import addresses
from web.parts import Parts
from web.words import NOT_YOURS, Troubled


def routes(parts: Parts) -> list[BaseRoute]:
    """Return the routes of these pages."""

    async def join(request: Request) -> Response:
        typed = request.query_params.get("id", "").strip()
        if not typed:
            return RedirectResponse("/", 303)
        found, problem = await _complete(parts, typed)
        if len(found) == 1:
            return RedirectResponse(f"/kata/{found[0]}", 303)
        return parts.rendering.page(
            request, "join.html", 404 if problem else 200, typed=typed, found=found, problem=problem
        )

    async def complete(request: Request) -> Response:
        found, problem = await _complete(parts, request.query_params.get("id", "").strip())
        return JSONResponse({"found": found, "problem": problem})

    async def enter(request: Request) -> Response:
        kata_id, avatar = addresses.kata_of(request), addresses.avatar_of(request)
        if not parts.links.is_right(kata_id, avatar, request.path_params["secret"]):
            raise Troubled(NOT_YOURS)
        answer = RedirectResponse(f"/kata/{kata_id}/as/{avatar}", 303)
        parts.links.remember(request, answer, kata_id, avatar)
        return answer

    return [
        Route("/join", join),
        Route("/join/complete", complete),
        Route("/enter/{kata_id}/{avatar}/{secret}", enter),
    ]


async def _complete(parts: Parts, typed: str) -> tuple[list[str], str]:
    """Return the ids that begin with what was typed, and what is wrong with it, for people."""
    if len(typed) < kata_ids.SHORTEST_PARTIAL:
        return [], f"Type at least {kata_ids.SHORTEST_PARTIAL} characters of the id."
    if len(typed) > kata_ids.LENGTH or not (typed.isascii() and typed.isalnum()):
        return [], f"An id has {kata_ids.LENGTH} letters and digits, and nothing else."
    asked = storer_pb2.CompleteKataIdRequest(partial_id=typed)
    found = await parts.client.storer.CompleteKataId(asked)
    return list(found.kata_ids), "" if found.kata_ids else "No kata has an id that begins so."
