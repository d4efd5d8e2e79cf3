"""Streamed answers that hold something while they last: a call, a place among open streams."""

import contextlib
from collections.abc import AsyncIterator, Mapping

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class HeldStream(StreamingResponse):
    """A streamed answer whose `stack` is closed when it ends, however it ends.

    A body alone can't do that: where a browser goes before anything was sent, its body is never
    begun, and so never ends.
    """

    def __init__(
        self,
        stack: contextlib.AsyncExitStack,
        content: AsyncIterator[bytes],
        headers: Mapping[str, str],
        media_type: str,
    ) -> None:
        super().__init__(content, headers=headers, media_type=media_type)
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, then give up what it holds."""
        async with self._stack:
            await super().__call__(scope, receive, send)
