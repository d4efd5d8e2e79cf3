"""The lights of avatars: increments.json, completed from git, and cached.

Git is the truth. increments.json is the list that is quick to read. It is written after the light
is in git: after a crash it can lack lights, and after a crash of the machine be unreadable. Readers
add the lights that only git has; the next light that is recorded lists them in the file too.

A cache entry is valid as long as the file has the same inode, time and size: a process that
records replaces the file or appends to it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from dojo import regular_files
from dojo.lru_cache import LruCache
from storer.fs import durable, in_place, json_files, json_times
from storer.fs.json_files import Unreadable
from storer.kata import light
from storer.kata.edits import EditsCache
from storer.kata.history import History
from storer.kata.light import Light
from storer.kata.recorder import Tip

INCREMENTS = "increments.json"

# `newest_in_file` for an increments.json that can't be read: not even light 0 is in the file.
UNREADABLE = -1

_Signature = tuple[int, int, int]


@dataclass(frozen=True)
class Lights:
    """The lights of an avatar, the start (number 0) first.

    `newest_in_file` is the number of the newest light in increments.json. `tip` is the newest
    light's commit, if it is known. `are_in_git` says that increments.json can be restored from git;
    of legacy lights, git does not have all. `by_request` maps request ids to the lights that they
    recorded; only the holder of the avatar's lock may use it.
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
    """The lights of the most recently used avatars. Any thread may use it."""

    def __init__(self, capacity: int = 1024) -> None:
        self._entries: LruCache[Path, tuple[_Signature, Lights]] = LruCache(capacity)
        self.edits = EditsCache()

    def get(self, folder: Path) -> Lights | None:
        """Return the lights of the avatar in `folder`; None if they are not cached."""
        entry = self._entries.get(folder)
        return entry[1] if entry is not None and entry[0] == _signature(folder) else None

    def forget(self, folder: Path) -> None:
        """Remove the lights of the avatar in `folder` from the cache."""
        self._entries.discard(folder)

    def read(
        self, folder: Path, history: History, start: Light | None, legacy_start: Light
    ) -> Lights:
        """Read the lights of the avatar in `folder`; raise Unreadable or KataDamaged.

        `start` is light 0 from git; `legacy_start` takes its place if a legacy commit has none.
        """
        signature = _signature(folder)
        try:
            lights = [start or legacy_start, *parse(json_files.read(folder / INCREMENTS, list))]
            newest_in_file = lights[-1].number
        except Unreadable:
            if start is None:
                raise
            lights, newest_in_file = [start], UNREADABLE  # git has all lights
        while history.has_light(number := lights[-1].number + 1):
            missing = history.light(number)
            if missing is None or missing.number != number:
                break  # a legacy tag beyond increments.json is no light
            lights.append(missing)
        found = Lights(tuple(lights), newest_in_file, start is not None, _by_request(lights))
        self._entries.put(folder, (signature, found))
        return found

    def append(
        self, folder: Path, before: Lights, added: list[Light], tip: Tip | None = None
    ) -> Lights:
        """Append lights to increments.json, and those that are only in git.

        Elements that the file has are not changed: they can have unknown keys. The caller holds the
        avatar's lock.
        """
        after = (*before.all, *added)
        missing = added
        if before.newest_in_file < before.newest.number:
            missing = [each for each in after[1:] if each.number > before.newest_in_file]
        if missing or before.newest_in_file == UNREADABLE:
            new = b",\n".join(json_files.dumps(light.to_json(each)) for each in missing)
            _extend(folder / INCREMENTS, before, new)
        signature = _signature(folder)
        by_request = before.by_request
        by_request.update(_by_request(added))
        found = Lights(after, after[-1].number, before.are_in_git, by_request, tip)
        self._entries.put(folder, (signature, found))
        return found


def parse(value: list[object]) -> list[Light]:
    """Return the lights in the JSON of increments.json, without number 0.

    Raises Unreadable if an element is no light, or the numbers do not rise.
    """
    lights = [light.from_json(each) for each in value]
    numbers = [each.number for each in lights]
    if any(now <= was for was, now in zip([-1, *numbers], numbers, strict=False)):
        raise Unreadable("the lights' numbers do not rise")
    return [each for each in lights if each.number > 0]


def complete_times(
    value: list[Any], start: datetime, committed: Callable[[int], datetime] | None = None
) -> bool:
    """Give a time to the lights of legacy katas in increments.json whose time is null.

    `value` is the JSON. The time is that when the light was `committed`, if that is given, or else
    that of the light before; `start` is that of the first one. Return whether there was such a
    light. Raises Unreadable.
    """
    has_changed = False
    before = start
    for each in value:
        if isinstance(each, dict) and "time" in each and each["time"] is None:
            number = each.get("number")
            if committed is not None and isinstance(number, int):
                before = committed(number)
            each.update({"time": json_times.to_list(before), "time_was": None})
            has_changed = True
        before = light.from_json(each).time
    return has_changed


def has_light_folders(folder: Path) -> bool:
    """Say whether an avatar's folder has folders of lights (`17`), as later legacy katas have."""
    return any(path.name.isdecimal() and path.name != "0" for path in folder.iterdir())


def _by_request(lights: Iterable[Light]) -> dict[str, Light]:
    """Return the lights by the ids of the requests that recorded them: light 0 was started."""
    return {each.request.id: each for each in lights if each.request and each.number > 0}


def _extend(path: Path, before: Lights, new: bytes) -> None:
    """Append `new`, lights as JSON, to increments.json; write a new file if it is unreadable."""
    is_readable = before.newest_in_file != UNREADABLE
    if is_readable and before.are_in_git and in_place.extend(path, new):
        return
    content = path.read_bytes() if is_readable else b"["
    content = content.rstrip().removesuffix(b"]").rstrip()
    comma = b"" if content.endswith(b"[") else b",\n"
    durable.replace(path, content + comma + new + b"]\n", sync=not before.are_in_git)


def _signature(folder: Path) -> _Signature:
    return regular_files.status(f"{folder}/{INCREMENTS}")
