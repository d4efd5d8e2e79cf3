"""Lights as they are sent, kept for who asks for them again.

A dashboard asks for all lights of a class after each press of *test*, and to make a message of
each took longer than all the rest of the call. A light never changes, so it is made once.
"""

from bisect import bisect_right
from operator import attrgetter

from cyberdojo.storer.v1 import storer_pb2
from dojo.bounded_cache import Recent
from storer.api import converters, page_tokens, wire
from storer.kata.light import Light
from storer.katas.watch import Dashboard

_AVATARS = storer_pb2.ListLightsResponse.AVATARS_FIELD_NUMBER
_TOKEN = storer_pb2.ListLightsResponse.NEXT_PAGE_TOKEN_FIELD_NUMBER
_AVATAR = storer_pb2.AvatarLights.AVATAR_FIELD_NUMBER
_LIGHTS = storer_pb2.AvatarLights.LIGHTS_FIELD_NUMBER

_number = attrgetter("number")


class LightMessages:
    """The messages of the lights that were asked for last. Any thread may use it.

    Those of an avatar are replaced, and never changed.
    """

    def __init__(self, capacity: int = 512) -> None:
        """Keep those of at most `capacity` avatars: some 60 bytes a light."""
        self._kept: Recent[tuple[str, str], tuple[tuple[Light, ...], list[bytes]]]
        self._kept = Recent(capacity)

    def page(
        self,
        kata_id: str,
        lights: Dashboard,
        after: tuple[str, int],
        size: int,
    ) -> bytes:
        """Return a ListLightsResponse of the first `size` lights that come after an avatar's."""
        parts: list[bytes] = []
        last = after
        for name, each in lights.items():
            first = 0
            if name <= after[0]:
                first = bisect_right(each, after[1], key=_number) if name == after[0] else len(each)
            shown = each[first : first + size]
            size -= len(each) - first
            if shown:
                made = self._messages(kata_id, name, each)[first : first + len(shown)]
                content = b"".join((wire.bytes_field(_AVATAR, name.encode()), *made))
                parts.append(wire.bytes_field(_AVATARS, content))
                last = (name, shown[-1].number)
            if size < 0:  # there is more
                parts.append(wire.bytes_field(_TOKEN, page_tokens.token(*last).encode()))
                break
        return b"".join(parts)

    def _messages(self, kata_id: str, avatar: str, lights: tuple[Light, ...]) -> list[bytes]:
        """Return each light of an avatar as an element of AvatarLights."""
        key = (kata_id, avatar)
        known, made = self._kept.get(key) or ((), [])
        if known is not lights:
            # Lights are added to the very ones that were there; read anew, they are others.
            goes_on = 0 < len(known) <= len(lights) and lights[len(known) - 1] is known[-1]
            made = made if goes_on else []
            made = [*made, *(_message(light) for light in lights[len(made) :])]
        self._kept.put(key, (lights, made))
        return made


def _message(light: Light) -> bytes:
    return wire.bytes_field(_LIGHTS, converters.light_to(light).SerializeToString())
