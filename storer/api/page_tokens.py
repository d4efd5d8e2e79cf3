"""Page tokens, opaque to callers: each encodes where a page ended."""

import base64
import binascii
import json

from dojo import avatars, kata_ids
from dojo.errors import InvalidArgument

FIRST_PAGE = ("", -1, 0)

_MAX_BYTES = 4096  # more than the longest name takes


def token(*position: str | int) -> str:
    """Return a token for the position where a page ended."""
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode()


def after_kata(page_token: str) -> str:
    """Return the kata id that ended the previous page, "" for none; raise InvalidArgument."""
    if not page_token:
        return ""
    match _decode(page_token):
        case [str() as kata_id] if kata_ids.is_whole(kata_id):
            return kata_id
    raise InvalidArgument("page_token", "is not a token of this RPC")


def after_light(page_token: str) -> tuple[str, int, int]:
    """Return the avatar, the light, and the edit after it, that ended the previous page.

    0 stands for no edit. Raises InvalidArgument.
    """
    if not page_token:
        return FIRST_PAGE
    match _decode(page_token):
        case [str() as avatar, int() as number] if avatars.is_name(avatar):
            return avatar, number, 0
        case [str() as avatar, int() as number, int() as minor] if avatars.is_name(avatar):
            return avatar, number, minor
    raise InvalidArgument("page_token", "is not a token of this RPC")


def place(page_token: str, count: int) -> int:
    """Return which of the `count` things that a request names begins the page.

    Raises InvalidArgument.
    """
    if not page_token:
        return 0
    match _decode(page_token):
        case [int(first)] if 0 < first < count and first is not True:
            return first
    raise InvalidArgument("page_token", "is not a token of this RPC, for such a request")


def after_name(page_token: str) -> str:
    """Return the name that ended the previous page, "" for none; raise InvalidArgument."""
    if not page_token:
        return ""
    match _decode(page_token):
        case [str() as name]:
            return name
    raise InvalidArgument("page_token", "is not a token of this RPC")


def _decode(page_token: str) -> object:
    if len(page_token) > _MAX_BYTES:
        raise InvalidArgument("page_token", "is not a token of this RPC")
    try:
        return json.loads(base64.urlsafe_b64decode(page_token))
    except (binascii.Error, ValueError, RecursionError):
        raise InvalidArgument("page_token", "is not a token of this RPC") from None
