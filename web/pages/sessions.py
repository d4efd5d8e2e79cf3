"""What review, dashboard and picture read of a kata: how it was created, and everybody's lights."""

from __future__ import annotations

import time
from dataclasses import dataclass

from cyberdojo.storer.v1 import storer_pb2
from web.parts import Parts
from web.session.lights import Light, plain_lights
from web.session.standings import Standing, standings
from web.shown_text import numbered


@dataclass(frozen=True)
class Session:
    """A kata with the lights of all its avatars, each from its light 0. `now` is when it was read.

    `damaged` names the avatars whose lights can't be read.
    """

    kata_id: str
    manifest: storer_pb2.Manifest
    lights: dict[str, list[Light]]
    damaged: list[str]
    now: float

    @property
    def title(self) -> str:
        """What is practised: `Fizz Buzz, Python, pytest`."""
        manifest = self.manifest
        exercise = manifest.exercise.replace("_", " ")
        return numbered(", ".join(part for part in (exercise, manifest.display_name) if part))

    @property
    def standings(self) -> list[Standing]:
        """How everybody stands, by name."""
        return standings(self.lights)


async def read(parts: Parts, kata_id: str) -> Session:
    """Read a session. Raises what the client raises."""
    # Not tried again here: while the storer is away, a page says so at once.
    kata = await parts.client.storer.GetKata(storer_pb2.GetKataRequest(kata_id=kata_id))
    lights: dict[str, list[Light]] = {}
    damaged: set[str] = set()
    asked = storer_pb2.ListLightsRequest(kata_id=kata_id)
    async for page in parts.client.pages(parts.client.storer.ListLights, asked):
        damaged |= {each.avatar for each in page.damaged}
        for each in page.avatars:
            lights.setdefault(each.avatar, []).extend(plain_lights(each.lights, kata_id))
    return Session(kata_id, kata.manifest, lights, sorted(damaged), time.time())
