"""Downloads: a kata as a tar, an avatar's repository, and the difference of two lights as a patch.

What comes from the storer goes to the browser piece by piece, and never is here as a whole. A
download that does not come to its end breaks off, so that no browser takes it for a whole file.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import AsyncIterator
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from cyber_dojo_client import CallFailed, Incomplete
from cyberdojo.storer.v1 import storer_pb2
from web.access import browsers
from web.pages import addresses
from web.parts import Parts
from web.streams.held import HeldStream
from web.words import Trouble, Troubled

_log = structlog.get_logger()

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_NO_SUCH_DOWNLOAD = Trouble(
    "no_such_download", 404, "No such download", "The address of this download is malformed."
)


def routes(parts: Parts) -> list[BaseRoute]:
    """Return the routes of downloads."""
    storer = parts.client.storer

    async def download(request: Request) -> Response:
        asked = storer_pb2.DownloadKataRequest(
            kata_id=addresses.kata_of(request), compression=storer_pb2.COMPRESSION_GZIP
        )
        avatar = request.query_params.get("avatar", "")
        if avatar:
            asked.avatar, asked.as_bundle = avatar, True
            asked.compression = storer_pb2.COMPRESSION_NONE
        elif "saver" in request.query_params:
            asked.for_saver = True
        return await _streamed(parts, request, storer.DownloadKata(asked), _kind(asked))

    async def patch(request: Request) -> Response:
        query = request.query_params
        numbers = [query.get("was", ""), query.get("now", "")]
        if not all(re.fullmatch(r"[0-9]{1,9}", each, re.ASCII) for each in numbers):
            raise Troubled(_NO_SUCH_DOWNLOAD)
        asked = storer_pb2.DownloadPatchRequest(
            kata_id=addresses.kata_of(request),
            avatar=query.get("avatar", ""),
            was_number=int(numbers[0]),
            now_number=int(numbers[1]),
        )
        return await _streamed(parts, request, storer.DownloadPatch(asked), "text/x-diff")

    return [
        Route(f"{addresses.KATA}/download", download),
        Route(f"{addresses.KATA}/patch", patch),
    ]


def _kind(asked: storer_pb2.DownloadKataRequest) -> str:
    return "application/octet-stream" if asked.as_bundle else "application/gzip"


async def _streamed(parts: Parts, request: Request, call: Any, kind: str) -> Response:
    """Answer what the storer streams; what it refuses is said before anything is sent."""
    stack = contextlib.AsyncExitStack()
    try:
        stack.enter_context(parts.streams.open(browsers.address_of(request)))
        stack.callback(call.cancel)
        pieces = aiter(call)
        header = (await anext(pieces)).header
    except BaseException:
        await stack.aclose()
        raise
    name = _NAME.fullmatch(header.filename)
    disposition = f'attachment; filename="{name[0]}"' if name else "attachment"
    headers = {"Content-Disposition": disposition, "X-Accel-Buffering": "no"}
    return _Streamed(stack, _content(pieces), headers, kind)


class _Streamed(HeldStream):
    """A download. One that breaks off leaves its answer without an end."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it as far as it comes."""
        try:
            await super().__call__(scope, receive, send)
        except (CallFailed, Incomplete) as error:
            # The answer lacks its end now, so the server closes the connection.
            _log.warning("a download broke off", path=scope["path"], reason=str(error))


async def _content(pieces: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    """Yield the bytes of a stream. Raises Incomplete unless it comes to its end as it was sent."""
    size, digest = 0, hashlib.sha256()
    async for piece in pieces:
        if piece.HasField("end"):
            if (piece.end.size_bytes, piece.end.sha256) != (size, digest.digest()):
                raise Incomplete("the download differs from what the storer sent")
            return
        size += len(piece.data)
        digest.update(piece.data)
        yield piece.data
    raise Incomplete("the download broke off")
