"""What every answer says to browsers: nothing from elsewhere, no frames, no referrer."""

import secrets

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.access import browsers

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'{nonce}; connect-src 'self'; "
    "img-src 'self' data:; font-src 'self'; manifest-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cache-Control": "no-store",
}


def style_nonce(request: HTTPConnection) -> str:
    """Return the nonce with which a script may add styles to this answer's page.

    The editor needs it: it makes its styles when it starts.
    """
    found: str | None = getattr(request.state, "style_nonce", None)
    if found is None:
        request.state.style_nonce = found = secrets.token_urlsafe(16)
    return found


class Headers:
    """Adds the headers to each answer that does not have its own, and says who calls are for."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = HTTPConnection(scope)
        browsers.call_as(request)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                nonce = getattr(request.state, "style_nonce", None)
                allowed = f" 'nonce-{nonce}'" if nonce else ""
                headers.setdefault("Content-Security-Policy", _POLICY.format(nonce=allowed))
            await send(message)

        await self._app(scope, receive, with_headers)
