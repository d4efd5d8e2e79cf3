"""The web tier as a whole: builds its parts, and serves until it is told to stop."""

import asyncio
import contextlib
import dataclasses
import logging
import os
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from types import FrameType, ModuleType

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cyber_dojo_client import Access, AsyncClient, CallFailed
from dojo import channels
from dojo.service import log, settings_file
from dojo.service.settings import BadSettings, is_loopback, load
from web.access import browsers, secret_links
from web.access.headers import Headers
from web.access.limits import Bodies, Rate, Streams, TooLarge, TooOften, Unreadable
from web.assets import Assets
from web.pages import PAGES
from web.parts import Parts
from web.rendering import Rendering
from web.settings import WebSettings
from web.streams.watches import Watches
from web.words import NO_SUCH_PAGE, Trouble, Troubled, trouble_of

_log = structlog.get_logger()

GRACE_SECONDS = 10
_BAD_SETTINGS = 2
_KATAS_AT_ONCE = 20

_FORESEEN = (CallFailed, Troubled, browsers.ForeignForm, TooOften, TooLarge, Unreadable)


def build(parts: Parts, assets: Assets, pages: Iterable[ModuleType] = PAGES) -> Starlette:
    """Return the application: each of the `pages` is a module with a function `routes(parts)`."""

    async def foreseen(request: Request, error: Exception) -> Response:
        return parts.rendering.trouble(request, trouble_of(error))

    async def of_http(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 404
        if status == NO_SUCH_PAGE.status:
            return parts.rendering.trouble(request, NO_SUCH_PAGE)
        text = error.detail if isinstance(error, HTTPException) else ""
        trouble = Trouble("refused", status, "That does not work here", f"{text}.")
        return parts.rendering.trouble(request, trouble)

    routes: list[BaseRoute] = [
        Route("/health", _health),
        Route("/assets/{name}", assets.answer),
    ]
    for page in pages:
        routes += page.routes(parts)
    handlers = dict.fromkeys(_FORESEEN, foreseen)
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Headers), Middleware(_Defects, rendering=parts.rendering)],
        exception_handlers={**handlers, HTTPException: of_http},
        lifespan=_lifespan(parts),
    )
    app.state.public_url = parts.settings.public_url
    return app


def build_parts(settings: WebSettings, assets: Assets) -> Parts:
    """Return the parts, connected to the services as the settings have it. Raises BadSettings.

    To be called on the event loop.
    """
    links = secret_links.SecretLinks(secret_links.read_key(settings.key_file))
    client = AsyncClient(
        channels.address_of(settings.storer),
        channels.address_of(settings.runner),
        _access(settings),
    )
    return Parts(
        settings=settings,
        client=client,
        links=links,
        rendering=Rendering(assets, links),
        watches=Watches(client),
        bodies=Bodies(),
        streams=Streams(),
        new_katas=Rate(
            "too many katas were made here",
            settings.max_katas_per_hour,
            min(settings.max_katas_per_hour, _KATAS_AT_ONCE),
        ),
        joins=Rate("too many joined from here", 2000, 300),
        tests=Rate("too many tests were pressed here", 3600, 30),
        edits=Rate("too much was sent from here", 7200, 60),
    )


def _access(settings: WebSettings) -> Access:
    for address in (settings.storer, settings.runner):
        access = channels.access_of(channels.address_of(address), settings)
    return dataclasses.replace(access, participant=browsers.participant.get)


async def _health(_: Request) -> Response:
    """Say that the process answers. Pages say themselves whether the services do."""
    return PlainTextResponse("OK\n")


class _Defects:
    """Answers what nobody has foreseen with a page of words, and logs it."""

    def __init__(self, app: ASGIApp, rendering: Rendering) -> None:
        self._app = app
        self._rendering = rendering

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def noting(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except ClientDisconnect:
            pass  # nobody is there to be told
        except Exception as error:
            if scope["type"] != "http":
                raise
            request = Request(scope, receive)
            _log.exception("defect", path=request.url.path)
            if not has_begun:
                answer = self._rendering.trouble(request, trouble_of(error))
                await answer(scope, receive, send)


def _lifespan(parts: Parts) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await parts.client.close()

    return lifespan


class _Server(uvicorn.Server):
    """Ends streams when it stops: they have no end of their own."""

    def __init__(self, config: uvicorn.Config, watches: Watches) -> None:
        super().__init__(config)
        self._watches = watches

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at SIGTERM and SIGINT, and end well after them."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; at the second signal at once."""
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then let the other requests come to their end."""
        _log.info("stopping")
        await self._watches.stop()
        await super().shutdown(sockets)


def main() -> None:
    """Serve as the environment says, and exit."""
    try:
        settings_file.apply(os.environ)
        settings = load(WebSettings, os.environ)
        _check_listen(settings)
        log.configure(settings.log_level, settings.log_file)
        assets = Assets(settings.assets)
        listening = _listen(settings.listen)
        with asyncio.Runner() as runner:
            runner.run(_serve(settings, assets, listening))
    except BadSettings as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        sys.exit(_BAD_SETTINGS)
    except OSError as error:
        print(f"CYBER_DOJO_WEB_LISTEN='{settings.listen}': {error.strerror}", file=sys.stderr)
        sys.exit(1)


async def _serve(settings: WebSettings, assets: Assets, listening: socket.socket) -> None:
    parts = build_parts(settings, assets)
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)  # what matters is logged here
    config = uvicorn.Config(
        build(parts, assets),
        lifespan="on",
        log_config=None,
        access_log=False,  # personal links would be in it
        server_header=False,
        date_header=False,
        forwarded_allow_ips=settings.proxies,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=75,
        h11_max_incomplete_event_size=64 * 1024,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        ssl_version=ssl.PROTOCOL_TLS_SERVER,
    )
    if settings.key_file is None:
        _log.warning("personal links end with this process: CYBER_DOJO_WEB_KEY_FILE is not set")
    host, port = listening.getsockname()[:2]
    _log.info("serving", listen=f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    await _Server(config, parts.watches).serve([listening])
    _log.info("stopped")


def _check_listen(settings: WebSettings) -> None:
    """Raise BadSettings if others could read the secrets of links on their way."""
    if bool(settings.tls_certificate) != bool(settings.tls_key):
        reason = "CYBER_DOJO_WEB_TLS_CERTIFICATE and CYBER_DOJO_WEB_TLS_KEY require each other"
        raise BadSettings([reason])
    is_open = not is_loopback(settings.listen) and settings.tls_certificate is None
    if is_open and settings.unprotected != "allow":
        reason = (
            f"CYBER_DOJO_WEB_LISTEN='{settings.listen}' can be reached from other machines, "
            "and personal links would go there unencrypted: put a proxy with TLS before it, or "
            "set CYBER_DOJO_WEB_TLS_CERTIFICATE and CYBER_DOJO_WEB_TLS_KEY; "
            "CYBER_DOJO_UNPROTECTED=allow serves it as it is"
        )
        raise BadSettings([reason])


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, int(port)), family=family, backlog=1024)
