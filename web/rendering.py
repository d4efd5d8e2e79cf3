"""Rendering: a page from its template, with what all pages have."""

import gzip
from pathlib import Path
from typing import Any

import jinja2
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from web.access import browsers, headers, https
from web.access.secret_links import SecretLinks
from web.assets import Assets
from web.words import Trouble

_LEAST_COMPRESSED_BYTES = 1000


class Rendering:
    """Renders pages. It belongs to the event loop."""

    def __init__(self, assets: Assets, links: SecretLinks) -> None:
        self._links = links
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals["asset"] = assets.url

    def page(self, request: Request, template: str, status: int = 200, **values: Any) -> Response:
        """Render a template of `web/templates/`.

        It can use `form_token()`, which each form carries, `style_nonce()`, `public_url`, and what
        `values` has.
        """
        browser = browsers.name_of(request)
        text = self._templates.get_template(template).render(
            form_token=lambda: self._links.form_token(browser),
            style_nonce=lambda: headers.style_nonce(request),
            public_url=https.public_url(request),
            path=request.url.path,
            **values,
        )
        answer = _html(request, text.encode(), status)
        browsers.remember(request, answer)
        return answer

    def trouble(self, request: Request, trouble: Trouble, **values: Any) -> Response:
        """Say what went wrong: as a page, or to a script that asked for JSON."""
        if "application/json" in request.headers.get("accept", ""):
            answer: Response = JSONResponse({"trouble": as_json(trouble)}, trouble.status)
        else:
            status = trouble.status
            answer = self.page(request, "trouble.html", status, trouble=trouble, **values)
        if trouble.retry_after is not None:
            answer.headers["Retry-After"] = str(round(trouble.retry_after))
        return answer


def as_json(trouble: Trouble) -> dict[str, object]:
    """Return what a script is told of a trouble."""
    return {
        "kind": trouble.kind,
        "title": trouble.title,
        "text": trouble.text,
        "goes_on": trouble.goes_on,
        "retry_after": trouble.retry_after,
    }


def _html(request: Request, content: bytes, status: int) -> Response:
    told = {"Vary": "Accept-Encoding"}
    accepts = "gzip" in request.headers.get("accept-encoding", "")
    if accepts and len(content) >= _LEAST_COMPRESSED_BYTES:
        told["Content-Encoding"] = "gzip"
        content = gzip.compress(content, 5, mtime=0)
    return Response(content, status, told, "text/html; charset=utf-8")
