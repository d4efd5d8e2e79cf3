"""Limits: how often somebody may do something, how much may come in, and how many streams are open.

A class often has one network address for all, so what is counted for an address is generous, and
what is counted for an avatar is not.
"""

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.types import Message

from dojo.lru_cache import LruCache

MIB = 1024 * 1024
# What a page sends: the files of an editor, or those that a teacher brings.
MAX_BODY_BYTES = 16 * MIB
MAX_UPLOAD_BYTES = 48 * MIB
# What all requests may hold together.
MAX_BODIES_BYTES = 256 * MIB

MAX_STREAMS = 4096
MAX_STREAMS_OF_ADDRESS = 1024

_MAX_REMEMBERED = 100_000


class TooOften(Exception):
    """Somebody did something too often; `retry_after` is in seconds."""

    def __init__(self, what: str, retry_after: float) -> None:
        super().__init__(what)
        self.what = what
        self.retry_after = max(retry_after, 1.0)


class Unreadable(Exception):
    """What a page sent is not what its script sends; the message says what is wrong."""


class TooLarge(Exception):
    """A request has more bytes than it may; `limit` is how many."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} bytes")
        self.limit = limit


class Rate:
    """Lets each who do something so many times an hour, and `burst` times at once.

    It belongs to the event loop.
    """

    def __init__(
        self, what: str, per_hour: float, burst: int, now: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin with all of `burst`; `what` says to people what was done too often."""
        self._what = what
        self._per_second = per_hour / 3600
        self._burst = float(burst)
        self._now = now
        self._left: LruCache[str, tuple[float, float]] = LruCache(_MAX_REMEMBERED)

    def spend(self, who: str) -> None:
        """Count one for somebody; raise TooOften if none is left."""
        now = self._now()
        left, since = self._left.get(who) or (self._burst, now)
        left = min(self._burst, left + (now - since) * self._per_second)
        if left < 1:
            raise TooOften(self._what, (1 - left) / self._per_second)
        self._left.put(who, (left - 1, now))


class Bodies:
    """What the bodies of all requests hold in memory. It belongs to the event loop."""

    def __init__(self, max_bytes: int = MAX_BODIES_BYTES) -> None:
        self._max_bytes = max_bytes
        self._held = 0

    @contextlib.contextmanager
    def reserve(self, request: Request, limit: int) -> Iterator[None]:
        """Hold the room that a request says it needs. Raises TooLarge or TooOften."""
        told = request.headers.get("content-length", "")
        needed = int(told) if told.isascii() and told.isdigit() else limit
        if needed > limit:
            raise TooLarge(limit)
        if self._held + needed > self._max_bytes:
            raise TooOften("too much is being sent at once", 2.0)
        self._held += needed
        try:
            yield
        finally:
            self._held -= needed

    async def form(self, request: Request, limit: int, max_files: int = 0) -> FormData:
        """Return a request's form, of at most `limit` bytes. Whoever calls it closes its files."""
        body = await self.read(request, limit)

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        held = Request(request.scope, receive)
        return await held.form(max_files=max_files, max_fields=100, max_part_size=limit)

    async def json(self, request: Request, limit: int = MAX_BODY_BYTES) -> dict[str, Any]:
        """Return a request's JSON object. Raises Unreadable if it is none."""
        try:
            found = json.loads(await self.read(request, limit))
        except (ValueError, RecursionError):
            raise Unreadable("it is no JSON") from None
        if not isinstance(found, dict):
            raise Unreadable("it is no object of JSON")
        return found

    async def read(self, request: Request, limit: int = MAX_BODY_BYTES) -> bytes:
        """Return a request's body, of at most `limit` bytes."""
        with self.reserve(request, limit):
            body = bytearray()
            async for part in request.stream():
                body += part
                if len(body) > limit:
                    raise TooLarge(limit)
            return bytes(body)


class Streams:
    """Counts the streams that are open, all and for each address. It belongs to the event loop."""

    def __init__(
        self, most: int = MAX_STREAMS, most_of_address: int = MAX_STREAMS_OF_ADDRESS
    ) -> None:
        self._most = most
        self._most_of_address = most_of_address
        self._open: Counter[str] = Counter()

    @contextlib.contextmanager
    def open(self, address: str) -> Iterator[None]:
        """Count a stream while it is open. Raises TooOften."""
        if self._open.total() >= self._most or self._open[address] >= self._most_of_address:
            raise TooOften("too many pages are open", 30.0)
        self._open[address] += 1
        try:
            yield
        finally:
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]
