"""A cache of lights as messages.

A dashboard lists all lights of a class after each press of *test*. Making a message of each light
took longer than the rest of the call. A light never changes, so its message is made once.
"""

from bisect import bisect_right
from operator import attrgetter

from cyberdojo.storer.v1 import storer_pb2
from dojo.lru_cache import LruCache
from storer.api import converters, page_tokens
from storer.kata.light import Light
from storer.katas.watch import Dashboard

_Response = storer_pb2.ListLightsResponse
_number = attrgetter("number")


class LightMessages:
    """The messages of the lights that were last listed. Any thread may use it.

    An avatar's messages are replaced together and never changed.
    """

    def __init__(self, capacity: int = 512) -> None:
        """Keep the messages of at most `capacity` avatars: some 100 bytes per light."""
        self._cache: LruCache[tuple[str, str], tuple[tuple[Light, ...], _Response]]
        self._cache = LruCache(capacity)

    def page(
        self,
        kata_id: str,
        lights: Dashboard,
        after: tuple[str, int],
        size: int,
    ) -> _Response:
        """Return the first `size` lights after `after`. The caller may not change the response."""
        response = _Response()
        last = after
        for name, each in lights.items():
            first = 0
            if name <= after[0]:
                first = bisect_right(each, after[1], key=_number) if name == after[0] else len(each)
            shown = each[first : first + size]
            size -= len(each) - first
            if shown:
                avatar_response = self._avatar_response(kata_id, name, each)
                if len(shown) < len(each):
                    part = avatar_response.avatars[0].lights[first : first + len(shown)]
                    response.avatars.add(avatar=name, lights=part)
                elif len(lights) == 1:
                    return avatar_response  # itself: a copy takes longer than the rest of the call
                else:
                    response.MergeFrom(avatar_response)
                last = (name, shown[-1].number)
            if size < 0:  # lights are left for another page
                response.next_page_token = page_tokens.token(*last)
                break
        return response

    def _avatar_response(self, kata_id: str, avatar: str, lights: tuple[Light, ...]) -> _Response:
        """Return the response with all lights of one avatar."""
        key = (kata_id, avatar)
        known, cached = self._cache.get(key) or ((), _Response())
        if known is lights:
            return cached
        # A longer tuple has the same Light objects, unless the lights were read from disk again.
        is_extended = 0 < len(known) <= len(lights) and lights[len(known) - 1] is known[-1]
        avatar_response = _Response()
        if is_extended:
            avatar_response.CopyFrom(cached)
        else:
            known = ()
            avatar_response.avatars.add(avatar=avatar)
        avatar_response.avatars[0].lights.extend(
            converters.light_to(each) for each in lights[len(known) :]
        )
        self._cache.put(key, (lights, avatar_response))
        return avatar_response
