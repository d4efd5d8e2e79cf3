"""The parts of a web tier, which its pages are handed."""

from dataclasses import dataclass

from starlette.requests import Request

from cyber_dojo_client import AsyncClient
from web.access import browsers
from web.access.limits import Bodies, Rate, Streams
from web.access.secret_links import SecretLinks
from web.rendering import Rendering
from web.settings import WebSettings
from web.streams.watches import Watches


@dataclass(frozen=True)
class Parts:
    """What pages need; `web.app` builds it."""

    settings: WebSettings
    client: AsyncClient
    links: SecretLinks
    rendering: Rendering
    watches: Watches
    bodies: Bodies
    streams: Streams
    new_katas: Rate  # for each address
    joins: Rate  # for each address
    tests: Rate  # for each avatar
    edits: Rate  # for each avatar

    def check_form(self, request: Request, told: str = "") -> None:
        """Raise ForeignForm unless a request comes from one of this browser's own pages.

        `told` is the form's field `form_token`; scripts send a header.
        """
        browsers.check_token(request, self.links, told)
