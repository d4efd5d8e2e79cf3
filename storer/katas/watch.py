"""Watch katas: callers get lights as they are recorded, without polling, and options too.

All of this runs in the event loop's thread. Each watched kata has one feed, however many watch it.
The feed holds the kata's lights rather than a queue per watcher: a slow watcher is merely further
behind, and one that disconnects leaves nothing behind.

The feed is told of what this process records, but not of what another storer in the same namespace
records. For that, each feed polls its kata, which takes a stat per avatar and one small file.
"""

import asyncio
import heapq
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from dojo.errors import Stopping
from storer.kata.edit import At, Edit
from storer.kata.light import Light
from storer.kata.options import KataOptions

# The longest time until watchers see what another storer recorded.
POLL_SECONDS = 1.0

# avatar -> its lights, number 0 first
Dashboard = Mapping[str, tuple[Light, ...]]

Event = Light | Edit

# avatar -> its lights, and if they are watched too its edits, in their order
Events = Mapping[str, tuple[Event, ...]]


@dataclass(frozen=True, slots=True)
class Watched:
    """What is watched of a kata at one moment: its events, and its options."""

    events: Events
    options: KataOptions


# Reads what is watched of a kata, with edits or without.
Read = Callable[[str, bool], Awaitable[Watched]]


def at_of(event: Event) -> At:
    """Return the place of a light or an edit."""
    return At(event.number, event.minor if isinstance(event, Edit) else 0)


_Key = tuple[str, bool]


class _Feed:
    """The events and options of one watched kata."""

    def __init__(self) -> None:
        self.watched = Watched({}, KataOptions())
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
        """Read katas by `read`, which raises KataNotFound when the kata is gone."""
        self._read = read
        self._feeds: dict[_Key, _Feed] = {}
        self._polls: dict[_Key, asyncio.Task[None]] = {}
        self._stopping = False

    def changed(self, kata_id: str) -> None:
        """Record that a kata's lights or options changed, or that it was deleted or replaced."""
        for with_edits in (False, True):
            feed = self._feeds.get((kata_id, with_edits))
            if feed is not None:
                feed.stale = True
                feed.wake()

    def is_watched(self, kata_id: str) -> bool:
        """Say whether a caller watches a kata. Any thread may ask."""
        return (kata_id, False) in self._feeds or (kata_id, True) in self._feeds

    def stop(self) -> None:
        """End every watch: without this, a server that stops would wait for its watchers."""
        self._stopping = True
        for feed in self._feeds.values():
            feed.wake()

    async def watch(
        self,
        kata_id: str,
        seen: Mapping[str, At],
        *,
        with_edits: bool = False,
        options_seen: KataOptions | None = None,
    ) -> AsyncGenerator[tuple[str, Event] | KataOptions | None, None]:
        """Yield each avatar's lights after those that were `seen`, then new ones as they come.

        The same for edits if `with_edits`. Between the two, yield None once: all that there were
        have been yielded. Before both, and whenever they change, yield the options if they are
        others than those `options_seen`.

        If the kata was replaced and an avatar has another history, its lights come from the start.
        Does not end by itself. Raises KataNotFound when the kata is gone, and Stopping.
        """
        newest = dict(seen)
        sent: dict[str, Event] = {}
        has_caught_up = False
        key = kata_id, with_edits
        with self._feed(key) as feed:
            while not self._stopping:
                changed = feed.changed
                watched = await self._current(key, feed)
                if watched.options != options_seen:
                    options_seen = watched.options
                    yield options_seen
                unseen = _unseen(watched.events, newest, sent)
                for avatar, event in unseen:
                    newest[avatar] = at_of(event)
                    sent[avatar] = event
                    yield avatar, event
                if not unseen:
                    if not has_caught_up:
                        has_caught_up = True
                        yield None
                        continue  # something may have happened meanwhile
                    await changed.wait()
        raise Stopping

    @contextmanager
    def _feed(self, key: _Key) -> Iterator[_Feed]:
        """Give the kata's feed to one more watcher."""
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = _Feed()
            self._polls[key] = asyncio.create_task(self._poll(key, feed))
        feed.watchers += 1
        try:
            yield feed
        finally:
            feed.watchers -= 1
            if not feed.watchers:
                del self._feeds[key]
                self._polls.pop(key).cancel()

    async def _poll(self, key: _Key, feed: _Feed) -> None:
        """Notice what other processes do to a kata; wake the watchers only for a change."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                watched = await self._read(*key)
            except Exception:  # noqa: BLE001 - the watchers read too, and report the same error
                self.changed(key[0])
            else:
                if watched != feed.watched:
                    self.changed(key[0])

    async def _current(self, key: _Key, feed: _Feed) -> Watched:
        """Return what the feed has; read it again if it changed since the last read."""
        async with feed.reading:
            if feed.stale:
                feed.stale = False  # before the read: a change during it makes the feed stale again
                try:
                    feed.watched = await self._read(*key)
                except BaseException:
                    feed.stale = True
                    raise
        return feed.watched


def _unseen(
    events: Events, newest: Mapping[str, At], sent: Mapping[str, Event]
) -> list[tuple[str, Event]]:
    """Return the events that were not seen, by time, but each avatar's own always in order."""
    each_avatar = [
        [
            (avatar, event)
            for event in _unseen_of_avatar(of_avatar, newest.get(avatar), sent.get(avatar))
        ]
        for avatar, of_avatar in events.items()
    ]
    return list(heapq.merge(*each_avatar, key=lambda pair: pair[1].time))


def _unseen_of_avatar(
    events: tuple[Event, ...], newest: At | None, sent: Event | None
) -> list[Event]:
    """Return an avatar's events after `newest`; all if `sent` is no longer in its history."""
    if newest is None or newest > at_of(events[-1]):
        return list(events)
    unseen = []
    for event in reversed(events):
        if at_of(event) <= newest:
            if sent is not None and sent != event:
                return list(events)
            break
        unseen.append(event)
    return unseen[::-1]
