"""Watch katas: callers get lights as they are recorded, without polling.

All of this runs in the event loop's thread. Each watched kata has one feed, however many watch it.
The feed holds the kata's lights rather than a queue per watcher: a slow watcher is merely further
behind, and one that disconnects leaves nothing behind.

The feed is told of what this process records, but not of what another storer in the same namespace
records. For that, each feed polls its kata, which takes a stat per avatar.
"""

import asyncio
import heapq
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager

from dojo.errors import Stopping
from storer.kata.light import Light

# The longest time until watchers see what another storer recorded.
POLL_SECONDS = 1.0

# avatar -> its lights, number 0 first
Dashboard = Mapping[str, tuple[Light, ...]]

Read = Callable[[str], Awaitable[Dashboard]]


class _Feed:
    """The lights of one watched kata."""

    def __init__(self) -> None:
        self.lights: Dashboard = {}
        self.watchers = 0
        self.stale = True
        self.reading = asyncio.Lock()
        self.changed = asyncio.Event()

    def wake(self) -> None:
        """Wake every waiting watcher; later ones wait for the next change."""
        self.changed.set()
        self.changed = asyncio.Event()


class Watches:
    """The feeds of all watched katas."""

    def __init__(self, read: Read) -> None:
        """Read lights by `read`, which raises KataNotFound when the kata is gone."""
        self._read = read
        self._feeds: dict[str, _Feed] = {}
        self._polls: dict[str, asyncio.Task[None]] = {}
        self._stopping = False

    def changed(self, kata_id: str) -> None:
        """Record that a kata's lights changed, or that it was deleted or replaced."""
        feed = self._feeds.get(kata_id)
        if feed is not None:
            feed.stale = True
            feed.wake()

    def is_watched(self, kata_id: str) -> bool:
        """Say whether a caller watches a kata. Any thread may ask."""
        return kata_id in self._feeds

    def stop(self) -> None:
        """End every watch: without this, a server that stops would wait for its watchers."""
        self._stopping = True
        for feed in self._feeds.values():
            feed.wake()

    async def watch(
        self, kata_id: str, seen: Mapping[str, int]
    ) -> AsyncGenerator[tuple[str, Light] | None, None]:
        """Yield each avatar's lights after those that were `seen`, then new ones as they come.

        Between the two, yield None once: all that there were have been yielded.

        If the kata was replaced and an avatar has another history, its lights come from the start.
        Does not end by itself. Raises KataNotFound when the kata is gone, and Stopping.
        """
        newest = dict(seen)
        sent: dict[str, Light] = {}
        has_caught_up = False
        with self._feed(kata_id) as feed:
            while not self._stopping:
                changed = feed.changed
                unseen = _unseen(await self._current(kata_id, feed), newest, sent)
                for avatar, light in unseen:
                    newest[avatar] = light.number
                    sent[avatar] = light
                    yield avatar, light
                if not unseen:
                    if not has_caught_up:
                        has_caught_up = True
                        yield None
                        continue  # something may have happened meanwhile
                    await changed.wait()
        raise Stopping

    @contextmanager
    def _feed(self, kata_id: str) -> Iterator[_Feed]:
        """Give the kata's feed to one more watcher."""
        feed = self._feeds.get(kata_id)
        if feed is None:
            feed = self._feeds[kata_id] = _Feed()
            self._polls[kata_id] = asyncio.create_task(self._poll(kata_id, feed))
        feed.watchers += 1
        try:
            yield feed
        finally:
            feed.watchers -= 1
            if not feed.watchers:
                del self._feeds[kata_id]
                self._polls.pop(kata_id).cancel()

    async def _poll(self, kata_id: str, feed: _Feed) -> None:
        """Notice what other processes do to a kata; wake the watchers only for a change."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                lights = await self._read(kata_id)
            except Exception:  # noqa: BLE001 - the watchers read too, and report the same error
                self.changed(kata_id)
            else:
                if lights != feed.lights:
                    self.changed(kata_id)

    async def _current(self, kata_id: str, feed: _Feed) -> Dashboard:
        """Return the feed's lights; read them again if they changed since the last read."""
        async with feed.reading:
            if feed.stale:
                feed.stale = False  # before the read: a change during it makes the feed stale again
                try:
                    feed.lights = await self._read(kata_id)
                except BaseException:
                    feed.stale = True
                    raise
        return feed.lights


def _unseen(
    lights: Dashboard, newest: Mapping[str, int], sent: Mapping[str, Light]
) -> list[tuple[str, Light]]:
    """Return the lights that were not seen, by time, but each avatar's own always by number."""
    each_avatar = [
        [
            (avatar, light)
            for light in _unseen_of_avatar(all_lights, newest.get(avatar), sent.get(avatar))
        ]
        for avatar, all_lights in lights.items()
    ]
    return list(heapq.merge(*each_avatar, key=lambda pair: pair[1].time))


def _unseen_of_avatar(
    lights: tuple[Light, ...], newest: int | None, sent: Light | None
) -> list[Light]:
    """Return an avatar's lights after `newest`; all if `sent` is no longer in its history."""
    if newest is None or newest > lights[-1].number:
        return list(lights)
    unseen = []
    for light in reversed(lights):
        if light.number <= newest:
            if sent is not None and sent != light:
                return list(lights)
            break
        unseen.append(light)
    return unseen[::-1]
