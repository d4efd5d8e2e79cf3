"""Help that fits on a screen."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from web.parts import Parts


def routes(parts: Parts) -> list[BaseRoute]:
    """Return the routes of this page."""

    async def help_(request: Request) -> Response:
        return parts.rendering.page(request, "help.html")

    return [Route("/help", help_)]
