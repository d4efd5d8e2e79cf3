"""Browsers: a random name for each, and what its forms have to carry.

A page of another site can have a browser send a form here, with the browser's cookies. It can't
read our pages, so it does not know the token that they put into each form.
"""

import contextvars
import hashlib
import hmac
import re
import secrets

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from web.access import https
from web.access.secret_links import SecretLinks

TOKEN_FIELD = "form_token"  # noqa: S105 - the name of a field
TOKEN_HEADER = "x-form-token"  # noqa: S105 - the name of a header

_COOKIE = "dojo-browser"
_NAME = re.compile(r"[0-9a-f]{32}\Z")
_YEAR_SECONDS = 365 * 24 * 3600

# For whom calls of the services are made, in their metadata: they bound guesses for each.
participant: contextvars.ContextVar[str] = contextvars.ContextVar("participant", default="")


class ForeignForm(Exception):
    """A form came without the token of this browser's pages."""


def name_of(request: HTTPConnection) -> str:
    """Return the browser's name: that in its cookie, or a new one, which `remember` sets."""
    found: str | None = getattr(request.state, "browser", None)
    if found is None:
        told = request.cookies.get(_COOKIE, "")
        request.state.browser = found = told if _NAME.match(told) else secrets.token_hex(16)
    return found


def remember(request: HTTPConnection, answer: Response) -> None:
    """Have a browser without a name keep the one that it was given."""
    name = name_of(request)
    if request.cookies.get(_COOKIE) != name:
        answer.set_cookie(
            _COOKIE,
            name,
            max_age=_YEAR_SECONDS,
            httponly=True,
            secure=https.is_https(request),
            samesite="lax",
        )


def address_of(request: HTTPConnection) -> str:
    """Return the network address that the browser is at."""
    return request.client.host if request.client else ""


def call_as(request: HTTPConnection) -> None:
    """Have the calls of this request name who they are for, without telling who that is."""
    name = hashlib.sha256(address_of(request).encode()).hexdigest()[:32]
    participant.set(name)


def check_token(request: Request, links: SecretLinks, told: str = "") -> None:
    """Raise ForeignForm unless the request has the token of this browser's pages.

    `told` is that of a form's field; scripts send it in a header.
    """
    told = told or request.headers.get(TOKEN_HEADER, "")
    if not hmac.compare_digest(told.encode(), links.form_token(name_of(request)).encode()):
        raise ForeignForm
