"""The first page: start a kata, or join one."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from web.parts import Parts


def routes(parts: Parts) -> list[BaseRoute]:
    """Return the routes of this page."""

    async def home(request: Request) -> Response:
        return parts.rendering.page(request, "home.html")

    return [Route("/", home)]
