"""What has to hold, checked with each change of etcd and each answer."""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from collections.abc import Iterable, Mapping

from dojo.etcd.client import Event
from storer.cluster.keys import RecordKeys
from storer.cluster.owners import NOBODY
from support.simulation.scheduler import Process

# The beginning of an entry that is in its record: `=`, number, commit.
_COMMIT = struct.Struct(">cQ20s")


class Violation(AssertionError):
    """Something happened that must not."""


class Judge:
    """Knows every light that etcd took, and who owns what."""

    def __init__(self, keys: RecordKeys) -> None:
        self._keys = keys
        self._owners: dict[str, tuple[int, Process | None]] = {}
        self._tokens: dict[int, Process] = {}
        self.lights: dict[str, dict[str, list[str]]] = {}
        self.acknowledged: Counter[str] = Counter()
        self.gaps: list[float] = []
        self.story = hashlib.sha256()

    def applied(self, process: Process, events: list[Event]) -> None:
        """Judge what a transaction of a process has changed."""
        before = dict[str, Process | None]()
        for event in events:
            self.story.update(b"%d %s\n" % (event.revision, event.key))
            if event.key.startswith(self._keys.owners):
                kata_id = event.key.removeprefix(self._keys.owners).decode()
                before.setdefault(kata_id, self._owner(kata_id))
                self._set_owner(kata_id, process, event)
        for event in events:
            written = self._kata_of(event.key)
            if written is None:
                continue
            kata_id = written
            if process not in {before.get(kata_id), self._owner(kata_id)}:
                raise Violation(f"{process.name} wrote {event.key!r}, and did not own the kata")
            place = self._keys.place(kata_id, event.key)
            if place is not None and event.value is not None:
                self._add(kata_id, place[0], place[1].number, event.value)

    def answered(self, kata_id: str, avatar: str, number: int, request_id: str) -> None:
        """Judge the answer that a light was recorded."""
        lights = self.lights.get(kata_id, {}).get(avatar, [])
        if number >= len(lights) or lights[number] != request_id:
            raise Violation(f"light {number} of {kata_id}, {avatar} is not what was acknowledged")
        self.acknowledged[kata_id] += 1

    def read(self, kata_id: str, found: Mapping[str, list[str]], *, is_last: bool = False) -> None:
        """Judge what a machine reads of a kata: what there is, or was a while ago."""
        lights = self.lights.get(kata_id, {})
        for avatar, each in found.items():
            if each != lights.get(avatar, [])[: len(each)]:
                raise Violation(f"{kata_id}, {avatar} was read with lights that are not there")
        if is_last and {avatar: each for avatar, each in found.items() if each} != lights:
            raise Violation(f"{kata_id} was read without lights that are there")

    def spread(self, names: Iterable[str]) -> dict[str, int]:
        """Return how many katas each machine owns."""
        counts = Counter(
            process.name for _, process in self._owners.values() if process is not None
        )
        return {name: counts[name] for name in names}

    def _owner(self, kata_id: str) -> Process | None:
        return self._owners.get(kata_id, (0, None))[1]

    def _set_owner(self, kata_id: str, process: Process, event: Event) -> None:
        if event.value is None:
            self._owners.pop(kata_id, None)
            return
        owner = None if event.value == NOBODY else process
        if owner is not None and owner.name != event.value.decode():
            raise Violation(f"{process.name} made {event.value!r} an owner")
        if event.revision in self._tokens:
            raise Violation(f"two have the token {event.revision}")
        self._tokens[event.revision] = process
        self._owners[kata_id] = event.revision, owner

    def _kata_of(self, key: bytes) -> str | None:
        parts = key.split(b"/", 4)
        return parts[3].decode() if parts[2] == b"kata" else None

    def _add(self, kata_id: str, avatar: str, number: int, value: bytes) -> None:
        lights = self.lights.setdefault(kata_id, {}).setdefault(avatar, [])
        request_id = _COMMIT.unpack_from(value)[2].hex()
        if number != len(lights):
            raise Violation(f"light {number} of {kata_id}, {avatar} came after {len(lights) - 1}")
        if request_id in lights:
            raise Violation(f"light {number} of {kata_id}, {avatar} is there twice")
        lights.append(request_id)
