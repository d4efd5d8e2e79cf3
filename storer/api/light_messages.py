"""A cache of lights as messages, and the pages of lists that are made of them.

A dashboard lists all lights of a class after each press of *test*. Making a message of each light
took longer than the rest of the call. A light never changes, so its message is made once.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import attrgetter

from cyberdojo.storer.v1 import storer_pb2
from dojo import limits
from dojo.lru_cache import LruCache
from storer.api import converters, page_tokens
from storer.kata.edit import At, Edit
from storer.kata.light import Light
from storer.katas.watch import Dashboard, at_of

_Response = storer_pb2.ListLightsResponse
_number = attrgetter("number")

# Where a page ended: the avatar, its light, and the edit after that.
_After = tuple[str, int, int]

# What a message takes in another one beside its own bytes: its field, and its length.
_FIELD_BYTES = 5


@dataclass(frozen=True, slots=True)
class _Cached:
    """The lights of an avatar as messages.

    `starts` has for each light how many bytes those before it take, and last those of all.
    """

    lights: tuple[Light, ...]
    response: _Response
    starts: list[int]

    @property
    def messages(self) -> Sequence[storer_pb2.Light]:
        """The messages, in the order of the lights. Nobody may change them."""
        return self.response.avatars[0].lights

    def fitting(self, first: int, room: int) -> int:
        """Return how many lights, beginning with the one at place `first`, fit into `room`."""
        return bisect_right(self.starts, self.starts[first] + room) - 1 - first

    def size(self, first: int, count: int) -> int:
        """Return how many bytes `count` lights take, beginning with the one at place `first`."""
        return self.starts[first + count] - self.starts[first]


class LightMessages:
    """The messages of the lights that were last listed. Any thread may use it.

    An avatar's messages are replaced together and never changed.
    """

    def __init__(self, capacity: int = 512, page_bytes: int = limits.PAGE_BYTES) -> None:
        """Keep the messages of at most `capacity` avatars: some 150 bytes per light.

        A page has at most `page_bytes`, but always a light or an edit.
        """
        self._cache: LruCache[tuple[str, str], _Cached] = LruCache(capacity)
        self._page_bytes = page_bytes

    def page(self, kata_id: str, lights: Dashboard, after: _After, size: int) -> _Response:
        """Return the first lights after `after`, at most `size`.

        The caller may not change the response.
        """
        response = _Response()
        room, last = self._page_bytes, after[:2]
        for name, each in lights.items():
            first = _first_after(name, each, after)
            if first == len(each):
                continue
            cached = self._of_avatar(kata_id, name, each)
            least = 0 if response.avatars else 1  # however large it is
            count = min(size, len(each) - first, max(least, cached.fitting(first, room)))
            if count:
                if count < len(each):
                    part = cached.messages[first : first + count]
                    response.avatars.add(avatar=name, lights=part)
                elif len(lights) == 1:
                    return cached.response  # itself: a copy takes longer than the rest of the call
                else:
                    response.MergeFrom(cached.response)
                last = (name, each[first + count - 1].number)
                size -= count
                room -= cached.size(first, count)
            if first + count < len(each):  # lights are left for another page
                response.next_page_token = page_tokens.token(*last)
                break
        return response

    def page_with_edits(
        self,
        kata_id: str,
        lights: Dashboard,
        edits_of: Callable[[str, Sequence[Light]], Sequence[Edit]],
        after: _After,
        size: int,
    ) -> _Response:
        """Return the first lights and edits after `after`, at most `size` lights.

        `edits_of` reads the edits of an avatar with these lights; those of the page alone are read.
        """
        response = _Response()
        room, last = self._page_bytes, after
        for name, each in lights.items():
            if name < after[0]:
                continue
            cached = self._of_avatar(kata_id, name, each)
            edits = edits_of(name, each)
            if name > after[0] and len(each) <= size:
                messages = [converters.edit_to(edit) for edit in edits]
                taken = cached.size(0, len(each)) + sum(map(_taken, messages))
                if taken <= room:
                    response.MergeFrom(cached.response)
                    response.avatars[-1].edits.extend(messages)
                    size -= len(each)
                    room -= taken
                    newest = each[-1].number
                    minors = (edit.minor for edit in edits[-1:] if edit.number == newest)
                    last = (name, newest, next(minors, 0))
                    continue
            place = At(*after[1:]) if name == after[0] else At(-1)
            listed: storer_pb2.AvatarLights | None = None
            for at, message in _with_edits(cached, edits, place):
                taken = _taken(message)
                if response.avatars and (taken > room or (not at.minor and not size)):
                    response.next_page_token = page_tokens.token(*last)
                    return response
                if listed is None:
                    listed = response.avatars.add(avatar=name)
                if isinstance(message, storer_pb2.Light):
                    listed.lights.append(message)
                    size -= 1
                else:
                    listed.edits.append(message)
                room -= taken
                last = (name, *at)
        return response

    def _of_avatar(self, kata_id: str, avatar: str, lights: tuple[Light, ...]) -> _Cached:
        """Return the messages of all lights of one avatar."""
        key = (kata_id, avatar)
        cached = self._cache.get(key)
        if cached is not None and cached.lights is lights:
            return cached
        response, known, starts = _Response(), 0, [0]
        # A longer tuple has the same Light objects, unless the lights were read from disk again.
        if (
            cached is not None
            and 0 < (count := len(cached.lights)) <= len(lights)
            and lights[count - 1] is cached.lights[-1]
        ):
            response.CopyFrom(cached.response)
            known, starts = count, cached.starts
        else:
            response.avatars.add(avatar=avatar)
        added = [converters.light_to(each) for each in lights[known:]]
        response.avatars[0].lights.extend(added)
        starts = [*starts[:-1], *accumulate(map(_taken, added), initial=starts[-1])]
        found = _Cached(lights, response, starts)
        self._cache.put(key, found)
        return found


def _taken(message: storer_pb2.Light | storer_pb2.Edit) -> int:
    """Return how many bytes a message takes on a page."""
    return message.ByteSize() + _FIELD_BYTES


def _first_after(name: str, lights: tuple[Light, ...], after: _After) -> int:
    """Return the place of the first light of an avatar that is after `after`."""
    if name > after[0]:
        return 0
    return bisect_right(lights, after[1], key=_number) if name == after[0] else len(lights)


def _with_edits(
    cached: _Cached, edits: Sequence[Edit], after: At
) -> Iterator[tuple[At, storer_pb2.Light | storer_pb2.Edit]]:
    """Yield the lights of an avatar after a place, each with the edits after it."""
    of_light: dict[int, list[Edit]] = defaultdict(list)
    for edit in edits:
        of_light[edit.number].append(edit)
    for light, message in zip(cached.lights, cached.messages, strict=True):
        if light.number < after.number:
            continue
        if light.number > after.number:
            yield At(light.number), message
        for edit in of_light[light.number]:
            if (at := at_of(edit)) > after:
                yield at, converters.edit_to(edit)
