"""The lights of avatars: increments.json, kept up with git, and cached.

git is the truth. increments.json is the list that is quick to read; it is written after the
light is in git, so after a crash it can be behind, or, when the machine went down, not readable.
Reading looks whether git knows more and adds what is missing; the next light's writing puts it
into the file too.

An entry of the cache is good as long as its file is the same file, of the same
size: another process that records replaces the file, or adds to it.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dojo.lru_cache import LruCache
from storer.fs import durable, in_place, json_files
from storer.fs.json_files import Unreadable
from storer.kata import light
from storer.kata.history import History
from storer.kata.light import Light
from storer.kata.recorder import Tip

INCREMENTS = "increments.json"

# Of an increments.json that can't be read: not even light 0 is in it.
NOTHING = -1

_Signature = tuple[int, int, int]


@dataclass(frozen=True)
class Lights:
    """The lights of an avatar, the start (number 0) first.

    `newest_in_file` is the number of the newest light that increments.json holds. `tip` is what
    is known of the newest light's commit, if anything. `are_in_git` says that git has what
    increments.json has, so that the file could be made again; of lights of old it has less.
    `by_request` has the lights by the ids of the requests that recorded them, for the holder of
    the avatar's lock.
    """

    all: tuple[Light, ...]
    newest_in_file: int
    are_in_git: bool
    by_request: dict[str, Light]
    tip: Tip | None = None

    @property
    def newest(self) -> Light:
        """The newest light."""
        return self.all[-1]


class LightsCache:
    """The lights of the avatars that were asked for last. Any thread may use it."""

    def __init__(self, capacity: int = 1024) -> None:
        self._entries: LruCache[Path, tuple[_Signature, Lights]] = LruCache(capacity)

    def get(self, folder: Path) -> Lights | None:
        """Return the lights of the avatar in `folder`, or None if they have to be read."""
        entry = self._entries.get(folder)
        return entry[1] if entry is not None and entry[0] == _signature(folder) else None

    def forget(self, folder: Path) -> None:
        """Have the lights of the avatar in `folder` read anew."""
        self._entries.discard(folder)

    def read(self, folder: Path, history: History, start: Light | None, old: Light) -> Lights:
        """Read the lights of the avatar in `folder`; raise Unreadable or KataDamaged.

        `start` is light 0 as git has it; where a commit of old has not, it is `old`.
        """
        signature = _signature(folder)
        try:
            lights = [start or old, *parse(json_files.read(folder / INCREMENTS, list))]
            newest_in_file = lights[-1].number
        except Unreadable:
            if start is None:
                raise
            lights, newest_in_file = [start], NOTHING  # git has all of it
        while history.has(number := lights[-1].number + 1):
            missing = history.light(number)
            if missing is None or missing.number != number:
                break  # as of old, when increments.json was the truth; or no light of ours
            lights.append(missing)
        found = Lights(tuple(lights), newest_in_file, start is not None, _by_request(lights))
        self._entries.put(folder, (signature, found))
        return found

    def append(
        self, folder: Path, before: Lights, added: list[Light], tip: Tip | None = None
    ) -> Lights:
        """Write lights to increments.json, and those that it misses. For the lock's holder.

        What the file holds already stays as it is, keys that we don't know included.
        """
        after = (*before.all, *added)
        missing = added
        if before.newest_in_file < before.newest.number:
            missing = [each for each in after[1:] if each.number > before.newest_in_file]
        if missing or before.newest_in_file == NOTHING:
            new = b",\n".join(json_files.dumps(light.to_json(each)) for each in missing)
            _extend(folder / INCREMENTS, before, new)
        signature = _signature(folder)
        by_request = before.by_request
        by_request.update(_by_request(added))
        found = Lights(after, after[-1].number, before.are_in_git, by_request, tip)
        self._entries.put(folder, (signature, found))
        return found


def parse(value: list[object]) -> list[Light]:
    """Return the lights that increments.json holds, number 0 left out.

    Raises Unreadable if they can't be a history: their numbers have to rise.
    """
    lights = [light.from_json(each) for each in value]
    numbers = [each.number for each in lights]
    if any(now <= was for was, now in zip([-1, *numbers], numbers, strict=False)):
        raise Unreadable("the lights' numbers do not rise")
    return [each for each in lights if each.number > 0]


def _by_request(lights: Iterable[Light]) -> dict[str, Light]:
    return {each.request_id: each for each in lights if each.request_id}


def _extend(path: Path, before: Lights, new: bytes) -> None:
    """Add lights to increments.json, which holds those `before`."""
    is_readable = before.newest_in_file != NOTHING
    if is_readable and before.are_in_git and in_place.extend(path, new):
        return
    content = path.read_bytes() if is_readable else b"["
    content = content.rstrip().removesuffix(b"]").rstrip()
    comma = b"" if content.endswith(b"[") else b",\n"
    durable.replace(path, content + comma + new + b"]\n", sync=not before.are_in_git)


def _signature(folder: Path) -> _Signature:
    try:
        status = os.stat(f"{folder}/{INCREMENTS}")  # noqa: PTH116 - a path's own takes longer
    except FileNotFoundError:
        return (0, 0, 0)
    return (status.st_ino, status.st_mtime_ns, status.st_size)
