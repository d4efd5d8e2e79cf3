"""Secret links: who holds an avatar's link may act as the avatar.

A link's secret follows from the kata, the avatar and the web tier's key, so every web tier with the
same key knows it and none has to keep it.
"""

import base64
import hashlib
import hmac
import re
import secrets
import stat
from pathlib import Path

from starlette.requests import HTTPConnection
from starlette.responses import Response

from dojo.service.settings import BadSettings
from web.access import https

_MIN_KEY_BYTES = 32
_SECRET_BYTES = 20  # 160 bits: nobody guesses one
_SECRET = re.compile(r"[A-Za-z0-9_-]{27}\Z")
_YEAR_SECONDS = 365 * 24 * 3600


class SecretLinks:
    """Makes secrets of links, and says who a browser may act as. Any thread may use it."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def secret(self, kata_id: str, avatar: str) -> str:
        """Return the secret of an avatar's link."""
        # Neither an id nor a name has a slash, so no two pairs have the same text.
        return _signed(self._key, f"avatar/{kata_id}/{avatar}")

    def is_right(self, kata_id: str, avatar: str, secret: str) -> bool:
        """Say whether a secret is that of the avatar's link."""
        if not _SECRET.match(secret):
            return False
        return hmac.compare_digest(secret, self.secret(kata_id, avatar))

    def remember(
        self, request: HTTPConnection, answer: Response, kata_id: str, avatar: str
    ) -> None:
        """Have the browser keep an avatar's secret, for the pages of its kata."""
        answer.set_cookie(
            _cookie(avatar),
            self.secret(kata_id, avatar),
            max_age=_YEAR_SECONDS,
            path=f"/kata/{kata_id}",
            httponly=True,
            secure=https.is_https(request),
            samesite="lax",
        )

    def may_act(self, request: HTTPConnection, kata_id: str, avatar: str) -> bool:
        """Say whether the browser holds the avatar's secret."""
        return self.is_right(kata_id, avatar, request.cookies.get(_cookie(avatar), ""))

    def avatars_of(self, request: HTTPConnection, kata_id: str) -> list[str]:
        """Return the avatars of a kata that the browser may act as, in alphabetical order."""
        names = (name.removeprefix(_COOKIE) for name in request.cookies if name.startswith(_COOKIE))
        return sorted(name for name in names if self.may_act(request, kata_id, name))

    def form_token(self, browser: str) -> str:
        """Return what the forms of a browser carry, which no other site can know."""
        return _signed(self._key, f"form/{browser}")


_COOKIE = "dojo-avatar-"


def _cookie(avatar: str) -> str:
    return _COOKIE + avatar


def _signed(key: bytes, text: str) -> str:
    digest = hmac.digest(key, text.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest[:_SECRET_BYTES]).decode().rstrip("=")


def read_key(path: Path | None) -> bytes:
    """Return the key in a file, or a new one without a file. Raises BadSettings."""
    if path is None:
        return secrets.token_bytes(_MIN_KEY_BYTES)
    shown = f"CYBER_DOJO_WEB_KEY_FILE='{path}'"
    try:
        mode = path.stat().st_mode
        key = path.read_bytes().strip()
    except OSError as error:
        raise BadSettings([f"{shown} can't be read: {error.strerror}"]) from error
    if stat.S_IMODE(mode) & 0o077:
        raise BadSettings([f"{shown} can be read by others than its owner: chmod 600 it"])
    if len(key) < _MIN_KEY_BYTES:
        raise BadSettings([f"{shown} has less than {_MIN_KEY_BYTES} bytes"])
    return key
