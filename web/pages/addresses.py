"""The addresses of pages: what of them names a kata and an avatar, and who may act there."""

from starlette.requests import Request

from dojo import avatars, kata_ids
from web.parts import Parts
from web.words import NO_SUCH_KATA, NO_SUCH_PAGE, NOT_YOURS, Troubled

KATA = "/kata/{kata_id}"
AVATAR = "/kata/{kata_id}/as/{avatar}"


def kata_of(request: Request) -> str:
    """Return the id of the kata that a page is of. Raises Troubled if it can't be one."""
    kata_id: str = request.path_params["kata_id"]
    if not kata_ids.is_whole(kata_id):
        raise Troubled(NO_SUCH_KATA)
    return kata_id


def avatar_of(request: Request) -> str:
    """Return the avatar that a page is of. Raises Troubled if there is no such animal."""
    avatar: str = request.path_params["avatar"]
    if not avatars.is_name(avatar):
        raise Troubled(NO_SUCH_PAGE)
    return avatar


def acting(parts: Parts, request: Request) -> tuple[str, str]:
    """Return the kata and the avatar that this browser acts as.

    Raises Troubled unless it holds the avatar's secret link.
    """
    kata_id, avatar = kata_of(request), avatar_of(request)
    if not parts.links.may_act(request, kata_id, avatar):
        raise Troubled(NOT_YOURS)
    return kata_id, avatar


def personal_link(parts: Parts, public_url: str, kata_id: str, avatar: str) -> str:
    """Return the link by which its holder is the avatar, on any machine."""
    return f"{public_url}/enter/{kata_id}/{avatar}/{parts.links.secret(kata_id, avatar)}"
