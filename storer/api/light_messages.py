"""Lights as messages, kept for who asks for them again.

A dashboard asks for all lights of a class after each press of *test*, and to make a message of
each took longer than all the rest of the call. A light never changes, so it is made once.
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
    """The messages of the lights that were asked for last. Any thread may use it.

    Those of an avatar are replaced, and never changed.
    """

    def __init__(self, capacity: int = 512) -> None:
        """Keep those of at most `capacity` avatars: some 100 bytes a light."""
        self._cache: LruCache[tuple[str, str], tuple[tuple[Light, ...], _Response]]
        self._cache = LruCache(capacity)

    def page(
        self,
        kata_id: str,
        lights: Dashboard,
        after: tuple[str, int],
        size: int,
    ) -> _Response:
        """Return the first `size` lights that come after an avatar's. Nobody may change them."""
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
                    return avatar_response  # as it is: a copy takes longer than all the rest
                else:
                    response.MergeFrom(avatar_response)
                last = (name, shown[-1].number)
            if size < 0:  # there is more
                response.next_page_token = page_tokens.token(*last)
                break
        return response

    def _avatar_response(self, kata_id: str, avatar: str, lights: tuple[Light, ...]) -> _Response:
        """Return the response that has all lights of one avatar."""
        key = (kata_id, avatar)
        known, cached = self._cache.get(key) or ((), _Response())
        if known is lights:
            return cached
        # Lights are added to the very ones that were there; read again, they are others.
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
