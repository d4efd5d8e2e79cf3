"""Watching katas: lights as they happen, without polling.

All of this belongs to the event loop's thread. There is one feed for a kata that is watched,
however many watch it; it holds the kata's lights, not a queue for each watcher: a watcher
that is slow is merely further behind, and one that is gone leaves nothing.
"""

import asyncio
import heapq
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from storer.light import Light

# avatar -> its lights, the start first
Dashboard = Mapping[str, tuple[Light, ...]]

Read = Callable[[str], Awaitable[Dashboard]]


class _Feed:
    """The lights of one kata that is watched."""

    def __init__(self) -> None:
        self.lights: Dashboard = {}
        self.watchers = 0
        self.stale = True
        self.reading = asyncio.Lock()
        self.changed = asyncio.Event()

    def wake(self) -> None:
        """Wake every watcher; who waits from now on waits for the next change."""
        self.changed.set()
        self.changed = asyncio.Event()


class Watches:
    """The katas that are watched."""

    def __init__(self, read: Read) -> None:
        """Watch katas whose lights `read` tells; it raises KataNotFound when one is gone."""
        self._read = read
        self._feeds: dict[str, _Feed] = {}

    def changed(self, kata_id: str) -> None:
        """Take note that a kata's lights changed, or that it was deleted or replaced."""
        feed = self._feeds.get(kata_id)
        if feed is not None:
            feed.stale = True
            feed.wake()

    async def watch(
        self, kata_id: str, seen: Mapping[str, int]
    ) -> AsyncIterator[tuple[str, Light]]:
        """Yield each avatar's lights after those that were `seen`, then those that happen.

        Does not end by itself. Raises KataNotFound when the kata is gone.
        """
        feed = self._feeds.setdefault(kata_id, _Feed())
        feed.watchers += 1
        newest = dict(seen)
        try:
            while True:
                changed = feed.changed
                lights = await self._fresh(kata_id, feed)
                sent = False
                for avatar, light in _unseen(lights, newest):
                    newest[avatar] = light.number
                    sent = True
                    yield avatar, light
                if not sent:
                    await changed.wait()
        finally:
            feed.watchers -= 1
            if not feed.watchers:
                del self._feeds[kata_id]

    async def _fresh(self, kata_id: str, feed: _Feed) -> Dashboard:
        """Return the feed's lights, read anew if they changed since they were read."""
        async with feed.reading:
            if feed.stale:
                feed.stale = False  # first: what changes while it is read makes it stale again
                try:
                    feed.lights = await self._read(kata_id)
                except BaseException:
                    feed.stale = True
                    raise
        return feed.lights


def _unseen(lights: Dashboard, newest: Mapping[str, int]) -> list[tuple[str, Light]]:
    """Return the lights that were not seen, by time; an avatar's own by number, always."""
    each_avatar = (
        [(avatar, light) for light in _after(all_lights, newest.get(avatar, -1))]
        for avatar, all_lights in lights.items()
    )
    return list(heapq.merge(*each_avatar, key=lambda pair: pair[1].time))


def _after(lights: tuple[Light, ...], number: int) -> list[Light]:
    found = []
    for light in reversed(lights):
        if light.number <= number:
            break
        found.append(light)
    return found[::-1]
