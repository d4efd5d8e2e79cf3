"""Where a review goes from two lights: forward and back by light, and to other avatars."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from web.session.lights import Light


@dataclass(frozen=True)
class Pair:
    """Two lights that are compared: `was` of an avatar, usually the same, and `now`."""

    avatar: str
    was: int
    now: int
    was_avatar: str = ""

    @property
    def before(self) -> str:
        """The avatar whose light `was` is."""
        return self.was_avatar or self.avatar


@dataclass(frozen=True)
class Moves:
    """Where one can go; None where there is nothing further."""

    first: Pair | None
    back: Pair | None
    forward: Pair | None
    newest: Pair | None
    avatar_before: Pair | None
    avatar_after: Pair | None


def chosen(
    lights: Mapping[str, Sequence[Light]],
    *,
    avatar: str = "",
    was_avatar: str = "",
    was: int | None = None,
    now: int | None = None,
) -> Pair | None:
    """Return the two lights that an address asks for; None if there are none.

    What it leaves out is the first avatar that has pressed *test*, its newest light, and the light
    before that. None too for an avatar or a light that there is not.
    """
    if not avatar:
        avatar = min(lights, key=lambda name: (len(lights[name]) < 2, name), default="")
    before = was_avatar or avatar
    if not lights.get(avatar) or not lights.get(before):
        return None
    newest = lights[avatar][-1].number
    now = newest if now in (None, -1) else now
    if was is None:
        was = max(now - 1, 0) if before == avatar else lights[before][-1].number
    elif was == -1:
        was = lights[before][-1].number
    if not (0 <= now <= newest and 0 <= was <= lights[before][-1].number):
        return None
    return Pair(avatar, was, now, "" if before == avatar else before)


def moves(lights: Mapping[str, Sequence[Light]], pair: Pair) -> Moves:
    """Return where one can go from two lights.

    Forward and back keep the distance of the two. The avatars beside, by name, show the light that
    they had when the light here was new.
    """
    newest = lights[pair.avatar][-1].number
    names = sorted(name for name in lights if lights[name])
    place = names.index(pair.avatar)
    time = lights[pair.avatar][pair.now].time

    def beside(step: int) -> Pair | None:
        if not 0 <= place + step < len(names):
            return None
        name = names[place + step]
        return _at(name, _number_at(lights[name], time))

    return Moves(
        first=_at(pair.avatar, min(1, newest)) if pair.now > 1 else None,
        back=_shifted(pair, -1) if pair.now > 0 else None,
        forward=_shifted(pair, 1) if pair.now < newest else None,
        newest=_at(pair.avatar, newest) if pair.now < newest else None,
        avatar_before=beside(-1),
        avatar_after=beside(1),
    )


def around(lights: Sequence[Light], now: int, most: int) -> tuple[Sequence[Light], int, int]:
    """Return at most so many lights around one, and how many are left out before and after."""
    begin = max(0, min(now - most // 2, len(lights) - most))
    end = min(begin + most, len(lights))
    return lights[begin:end], begin, len(lights) - end


def _at(avatar: str, now: int) -> Pair:
    return Pair(avatar, max(now - 1, 0), now)


def _shifted(pair: Pair, step: int) -> Pair:
    if pair.was_avatar:  # the other avatar's light stays
        return replace(pair, now=pair.now + step)
    if pair.was == pair.now:  # there was nothing before the start
        return _at(pair.avatar, pair.now + step)
    return replace(pair, was=max(pair.was + step, 0), now=pair.now + step)


def _number_at(lights: Sequence[Light], time: float) -> int:
    """Return the number of the light that was the newest at a time, the first test at least."""
    place = bisect_right(lights, time, key=lambda light: light.time) - 1
    return lights[max(place, min(1, len(lights) - 1))].number
