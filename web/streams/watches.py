"""Watches: one WatchKata for each kata that pages of this process show, shared by all of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import structlog

from cyber_dojo_client import AsyncClient, CallFailed
from cyberdojo.storer.v1 import storer_pb2
from web.streams import events, told
from web.words import trouble_of

_log = structlog.get_logger()

# A page that reads so slowly that more events wait for it is cut off. It connects again, and then
# gets all lights in a few large events.
MAX_WAITING_EVENTS = 2000
_LIGHTS_OF_EVENT = 500
# How long a watch that no page shows goes on: a page that is reloaded finds it.
LINGER_SECONDS = 20.0
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 1.0


class Watches:
    """The watches of all katas that are shown. It belongs to the event loop."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._watches: dict[str, _Watch] = {}
        self._is_stopping = False

    async def events(self, kata_id: str, avatar: str | None = None) -> AsyncIterator[bytes]:
        """Yield what happens in a kata, or to one avatar of it, as server-sent events.

        First come the lights that there are, in a few events of the kind `lights`, each with a
        list, then `caught_up`, once. After that come `lights` as they happen, `edit`, `options`,
        `storer` when that goes away or comes back, and last `gone` if the kata is deleted. Ends
        early for a page that reads too slowly, and when the process stops.
        """
        if self._is_stopping:
            return
        watch = self._watches.get(kata_id)
        if watch is None:
            watch = self._watches[kata_id] = _Watch(self._client, kata_id)
            watch.task.add_done_callback(lambda _: self._forget(kata_id, watch))
        page = _Page(avatar)
        watch.join(page)
        try:
            while True:
                event = await page.get()
                if event is None:
                    return
                yield event
        finally:
            watch.leave(page)

    async def stop(self) -> None:
        """End all streams: the process stops."""
        self._is_stopping = True
        watches = list(self._watches.values())
        for watch in watches:
            watch.task.cancel()
        await asyncio.gather(*(watch.task for watch in watches), return_exceptions=True)

    def _forget(self, kata_id: str, watch: _Watch) -> None:
        if self._watches.get(kata_id) is watch:
            del self._watches[kata_id]


class _Page:
    """The events that wait for one page; `avatar` is the only one that it shows, if any."""

    def __init__(self, avatar: str | None) -> None:
        self._avatar = avatar
        self._waiting: deque[bytes | None] = deque()
        self._has_some = asyncio.Event()

    def shows(self, avatar: str | None) -> bool:
        """Say whether the page is told of an avatar; None is what all pages are told of."""
        return avatar is None or self._avatar is None or avatar == self._avatar

    def put(self, event: bytes | None) -> None:
        """Add an event; None ends the stream."""
        if len(self._waiting) >= MAX_WAITING_EVENTS:
            self._waiting.clear()
            event = None
        self._waiting.append(event)
        self._has_some.set()

    async def get(self) -> bytes | None:
        """Wait for the next event."""
        while not self._waiting:
            self._has_some.clear()
            await self._has_some.wait()
        return self._waiting.popleft()


class _Watch:
    """A kata that is watched, what is known of it, and the pages that show it."""

    def __init__(self, client: AsyncClient, kata_id: str) -> None:
        self._client = client
        self._kata_id = kata_id
        self._pages: set[_Page] = set()
        self._lights: dict[str, list[dict[str, Any]]] = {}
        self._edits: dict[str, dict[str, Any]] = {}  # of each avatar the newest after its light
        self._options: dict[str, Any] | None = None
        self._trouble: dict[str, Any] | None = None
        self._has_caught_up = False
        self._linger: asyncio.TimerHandle | None = None
        self.task = asyncio.create_task(self._run(), name=f"watch of {kata_id}")

    def join(self, page: _Page) -> None:
        """Tell a page what is known, and what happens from now on."""
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if self._options is not None:
            page.put(events.encode("options", self._options))
        shown = [lights for avatar, lights in self._lights.items() if page.shows(avatar)]
        every = [light for lights in shown for light in lights]
        for first in range(0, len(every), _LIGHTS_OF_EVENT):
            page.put(events.encode("lights", every[first : first + _LIGHTS_OF_EVENT]))
        for avatar, edit in self._edits.items():
            if page.shows(avatar):
                page.put(events.encode("edit", edit))
        if self._has_caught_up:
            page.put(events.encode("caught_up", {}))
        if self._trouble is not None:
            page.put(events.encode("storer", self._trouble))
        self._pages.add(page)

    def leave(self, page: _Page) -> None:
        """Tell a page no more. Without pages the watch ends after a while."""
        self._pages.discard(page)
        if not self._pages and not self.task.done():
            loop = asyncio.get_running_loop()
            self._linger = loop.call_later(LINGER_SECONDS, self.task.cancel)

    async def _run(self) -> None:
        pause = _FIRST_PAUSE
        try:
            while True:
                try:
                    async with contextlib.aclosing(self._parts()) as parts:
                        async for happened in parts:
                            pause = _FIRST_PAUSE
                            self._tell_of(happened)
                except CallFailed as error:
                    trouble = trouble_of(error)
                    if not (error.is_temporary or trouble.goes_on):
                        self._tell("gone", {"title": trouble.title, "text": trouble.text})
                        return
                    self._set_trouble({"title": trouble.title, "text": trouble.text})
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
        except Exception:  # noqa: BLE001 - its pages are told that it ended, and connect again
            _log.exception("a watch has a defect", kata_id=self._kata_id)
        finally:
            for page in self._pages:
                page.put(None)

    async def _parts(self) -> AsyncGenerator[storer_pb2.WatchKataResponse]:
        seen = {avatar: lights[-1]["number"] for avatar, lights in self._lights.items()}
        seen_edits = {
            avatar: edit["number"]
            for avatar, edit in self._edits.items()
            if edit["light_number"] == seen.get(avatar)
        }
        request = storer_pb2.WatchKataRequest(
            kata_id=self._kata_id,
            seen=seen,
            with_edits=True,
            seen_edits=seen_edits,
            with_options=True,
        )
        call = self._client.storer.WatchKata(request)
        try:
            async for part in call:
                yield part
        finally:
            call.cancel()

    def _tell_of(self, happened: storer_pb2.WatchKataResponse) -> None:
        self._set_trouble(None)
        if happened.HasField("options"):
            self._options = told.options(happened.options)
            self._tell("options", self._options)
        elif happened.HasField("edit"):
            edit = told.edit(happened.avatar, happened.edit)
            self._edits[happened.avatar] = edit
            self._tell("edit", edit, happened.avatar)
        elif happened.caught_up:
            if not self._has_caught_up:
                self._has_caught_up = True
                self._tell("caught_up", {})
        else:
            self._add(told.light(happened.avatar, happened.light))

    def _add(self, light: dict[str, Any]) -> None:
        lights = self._lights.setdefault(light["avatar"], [])
        # A restored kata tells an avatar's lights again from its first.
        del lights[light["number"] :]
        lights.append(light)
        self._edits.pop(light["avatar"], None)
        self._tell("lights", [light], light["avatar"])

    def _set_trouble(self, trouble: dict[str, Any] | None) -> None:
        if trouble == self._trouble:
            return
        self._trouble = trouble
        self._tell("storer", trouble or {})

    def _tell(
        self, event: str, data: dict[str, Any] | list[Any], avatar: str | None = None
    ) -> None:
        if self._pages:
            encoded = events.encode(event, data)
            for page in self._pages:
                if page.shows(avatar):
                    page.put(encoded)
