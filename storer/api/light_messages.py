"""Lights as messages, kept for who asks for them again.

A dashboard asks for all lights of a class after each press of *test*, and to make a message of
each took longer than all the rest of the call. A light never changes, so it is made once.
"""

from bisect import bisect_right
from operator import attrgetter

from cyberdojo.storer.v1 import storer_pb2
from dojo.bounded_cache import Recent
from storer.api import converters, page_tokens
from storer.kata.light import Light
from storer.katas.watch import Dashboard

_number = attrgetter("number")


class LightMessages:
    """The messages of the lights that were asked for last. Any thread may use it.

    Those of an avatar are replaced, and never changed.
    """

    def __init__(self, capacity: int = 512) -> None:
        """Keep those of at most `capacity` avatars: some 100 bytes a light."""
        self._kept: Recent[tuple[str, str], tuple[tuple[Light, ...], storer_pb2.AvatarLights]]
        self._kept = Recent(capacity)

    def page(
        self,
        kata_id: str,
        lights: Dashboard,
        after: tuple[str, int],
        size: int,
    ) -> storer_pb2.ListLightsResponse:
        """Return a ListLightsResponse of the first `size` lights that come after an avatar's."""
        response = storer_pb2.ListLightsResponse()
        last = after
        for name, each in lights.items():
            first = 0
            if name <= after[0]:
                first = bisect_right(each, after[1], key=_number) if name == after[0] else len(each)
            shown = each[first : first + size]
            size -= len(each) - first
            if shown:
                made = self._messages(kata_id, name, each)
                if len(shown) == len(each):
                    response.avatars.append(made)  # in one go, which is what takes least
                else:
                    part = made.lights[first : first + len(shown)]
                    response.avatars.add(avatar=name, lights=part)
                last = (name, shown[-1].number)
            if size < 0:  # there is more
                response.next_page_token = page_tokens.token(*last)
                break
        return response

    def _messages(
        self, kata_id: str, avatar: str, lights: tuple[Light, ...]
    ) -> storer_pb2.AvatarLights:
        """Return an avatar with all of its lights."""
        key = (kata_id, avatar)
        known, made = self._kept.get(key) or ((), storer_pb2.AvatarLights(avatar=avatar))
        if known is not lights:
            # Lights are added to the very ones that were there; read again, they are others.
            goes_on = 0 < len(known) <= len(lights) and lights[len(known) - 1] is known[-1]
            before, made = made, storer_pb2.AvatarLights(avatar=avatar)
            if goes_on:
                made.CopyFrom(before)
            made.lights.extend(converters.light_to(light) for light in lights[len(made.lights) :])
        self._kept.put(key, (lights, made))
        return made
