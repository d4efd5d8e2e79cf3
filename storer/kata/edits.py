"""The edits of avatars, read from git and cached.

There is no list of them beside git: few callers ask for one. An entry is valid as long as the
folder of the tags, and the file with packed ones, have not changed.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dojo import regular_files, waits
from dojo.errors import KataDamaged
from dojo.lru_cache import LruCache
from storer.kata.edit import Edit
from storer.kata.history import GIT, History

_Signature = tuple[tuple[int, int, int], tuple[int, int, int]]


@dataclass(frozen=True)
class Edits:
    """The edits of an avatar, in their order."""

    all: tuple[Edit, ...] = ()

    @cached_property
    def by_request(self) -> dict[str, Edit]:
        """The edits by the ids of the requests that recorded them."""
        return {each.request.id: each for each in self.all if each.request is not None}

    def newest_of(self, number: int) -> int:
        """Return the newest edit after light `number`, by its minor number; 0 if there is none."""
        return next((each.minor for each in reversed(self.all) if each.number == number), 0)


class EditsCache:
    """The edits of the avatars whose edits were asked for last. Any thread may use it."""

    def __init__(self, capacity: int = 100_000) -> None:
        """Keep at most so many edits and changed files: some 150 bytes each, and the names."""
        self._entries: LruCache[Path, tuple[_Signature, Edits]] = LruCache(capacity, _weight)

    def read(self, folder: Path, history: History) -> Edits:
        """Return the edits of the avatar in `folder`, and of each light those that can be read.

        A light's edits end before the first that is missing or can't be read: that is none that
        was acknowledged, or the disk has lost it, and `verify` tells.
        """
        signature = _signature(folder)
        entry = self._entries.get(folder)
        known: dict[tuple[int, int], Edit] = {}
        if entry is not None:
            if entry[0] == signature and not _has_more(entry[1], history):
                return entry[1]
            if entry[0][0][0] == signature[0][0]:  # the same folder: what was read stays true
                known = {(each.number, each.minor): each for each in entry[1].all}
        found: list[Edit] = []
        expected = (-1, 0)
        for number, minor in history.edit_numbers():
            if minor == 1:
                expected = (number, minor)
            if (number, minor) != expected:
                continue
            waits.check()
            try:
                found.append(known.get((number, minor)) or history.edit(number, minor))
            except KataDamaged:
                continue
            expected = (number, minor + 1)
        edits = Edits(tuple(found))
        self._entries.put(folder, (signature, edits))
        return edits


def _weight(entry: tuple[_Signature, Edits]) -> int:
    return 1 + sum(1 + len(each.changes) for each in entry[1].all)


def _has_more(edits: Edits, history: History) -> bool:
    """Say whether the newest edit has one behind it.

    The time of a folder has a few milliseconds: two processes can record in one of them.
    """
    newest = edits.all[-1] if edits.all else None
    return newest is not None and history.has_edit_file(newest.number, newest.minor + 1)


def _signature(folder: Path) -> _Signature:
    git = f"{folder}/{GIT}"
    return regular_files.status(f"{git}/refs/tags"), regular_files.status(f"{git}/packed-refs")
