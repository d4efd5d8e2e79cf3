"""A saver's directory: `groups/xx/yy/zz` and `katas/xx/yy/zz`, by the six characters of an id.

A group is a practice session of many; each of its katas is one participant's. A kata that no group
lists is one for itself.
"""

import contextlib
import heapq
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from dojo import avatars, kata_ids
from dojo.budget import Budget, BudgetExceeded
from dojo.lru_cache import LruCache
from storer.saver import files, plain
from storer.saver.files import Damaged, Folder
from storer.saver.kata import MANIFEST

GROUPS, KATAS = "groups", "katas"
KATAS_LIST = "katas.txt"
KATA_ID = "kata.id"

# The list of a group has a line of ten bytes for each of 64 katas.
_MAX_LIST_BYTES = 64 * 1024
_MAX_ID_BYTES = 100
# Of a manifest that is read to find out what belongs together.
_MAX_MANIFEST_BYTES = 4 * 1024 * 1024
_REMEMBERED_GROUPS = 64

_INDEX = re.compile(r"0|[1-9][0-9]?")


@dataclass(frozen=True)
class Members:
    """The katas of a group: their old ids by avatar; and entries that lead to no avatar."""

    katas: dict[str, str] = field(default_factory=dict)
    unplaced: tuple[str, ...] = ()


class SaverDirectory:
    """A saver's directory, which is only read. Any thread may use it."""

    def __init__(self, top: Path) -> None:
        """Read in the folder `top`, which has the folders `groups` and `katas`."""
        self.top = top
        self._groups: LruCache[str, tuple[int, Members]] = LruCache(_REMEMBERED_GROUPS)

    @contextlib.contextmanager
    def opened(self, kind: str, old_id: str) -> Iterator[Folder]:
        """Give the folder of a group or a kata. Raises Damaged if there is none."""
        with files.opened(self.top, *parts(kind, old_id)) as folder:
            yield folder

    def has_group(self, old_id: str) -> bool:
        """Say whether there is a group of this old id."""
        return self.top.joinpath(*parts(GROUPS, old_id)).is_dir()

    def has_lone_kata(self, old_id: str) -> bool:
        """Say whether there is a kata of this old id that no group lists."""
        folder = self.top.joinpath(*parts(KATAS, old_id))
        return folder.is_dir() and self.group_of(old_id) is None

    def has(self, old_id: str) -> bool:
        """Say whether a group, or a kata that no group lists, has this old id."""
        return self.has_group(old_id) or self.has_lone_kata(old_id)

    def group_of(self, old_id: str) -> str | None:
        """Return the old id of the group that lists a kata; None if none does."""
        try:
            with self.opened(KATAS, old_id) as folder:
                group_id = read_manifest(folder).get("group_id")
        except (Damaged, BudgetExceeded):
            return None
        if not isinstance(group_id, str) or not kata_ids.is_old(group_id):
            return None
        with contextlib.suppress(Damaged, BudgetExceeded):
            if old_id in self.members(group_id).katas.values():
                return group_id
        return None

    def members(self, group_id: str) -> Members:
        """Return the katas of a group. Raises Damaged or BudgetExceeded."""
        with self.opened(GROUPS, group_id) as folder:
            changed = os.fstat(folder.descriptor).st_mtime_ns
            with contextlib.suppress(FileNotFoundError):
                listed = os.stat(KATAS_LIST, dir_fd=folder.descriptor, follow_symlinks=False)
                changed += listed.st_mtime_ns
            known = self._groups.get(group_id)
            if known is None or known[0] != changed:
                known = changed, _members(folder)
                self._groups.put(group_id, known)
            return known[1]

    def old_ids(
        self, prefix: str = "", *, ignore_case: bool = False, since: str = ""
    ) -> Iterator[str]:
        """Yield the old ids that begin with `prefix` and do not come before `since`, in order.

        Those of groups, and of katas that no group lists. Reads only folders that can have such.
        """
        groups = self._ids(GROUPS, prefix, since, ignore_case=ignore_case)
        katas = self._ids(KATAS, prefix, since, ignore_case=ignore_case)
        yield from heapq.merge(groups, (each for each in katas if self.group_of(each) is None))

    def member_ids(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Yield old ids of groups' katas that begin with `prefix` in any case, with the group's.

        For a prefix of a whole id, or of little less: each kata is read.
        """
        for old_id in self._ids(KATAS, prefix, "", ignore_case=True):
            if (group_id := self.group_of(old_id)) is not None:
                yield old_id, group_id

    def _ids(self, kind: str, prefix: str, since: str, *, ignore_case: bool) -> Iterator[str]:
        """Yield the ids of the folders of a kind, in order."""
        fold = str.lower if ignore_case else str
        pieces = [fold(prefix[at : at + 2]) for at in (0, 2, 4)]

        def walk(inside: tuple[str, ...]) -> Iterator[str]:
            depth = len(inside)
            if depth == len(pieces):
                yield "".join(inside)
                return
            begun = "".join(inside)
            piece = pieces[depth]
            cases = {name for name in _cases(piece) if ignore_case or name == piece}
            for name in _names(
                self.top.joinpath(kind, *inside), cases if len(piece) == 2 else None
            ):
                is_in_time = begun + name >= since[: 2 * depth + 2]
                if len(name) == 2 and is_in_time and fold(name).startswith(piece):
                    yield from walk((*inside, name))

        for old_id in walk(()):
            if kata_ids.is_old(old_id) and old_id >= since:
                yield old_id


def parts(kind: str, old_id: str) -> tuple[str, str, str, str]:
    """Return the folders that lead to a group or a kata: `katas`, `rU`, `qc`, `ey`."""
    return kind, old_id[:2], old_id[2:4], old_id[4:6]


def read_manifest(folder: Folder) -> dict[str, Any]:
    """Return the manifest of a group or a kata as its folder has it. Raises Damaged."""
    return plain.read_json(folder, MANIFEST, Budget(), _MAX_MANIFEST_BYTES)


def _members(folder: Folder) -> Members:
    """Read which katas a group has, as version 0 has it or later ones."""
    entries: list[tuple[str, str]] = []
    if folder.has(KATAS_LIST):
        content = folder.read(KATAS_LIST, Budget(), _MAX_LIST_BYTES).decode("utf-8", "replace")
        words = content.split()
        entries = list(zip(words[1::2], words[::2], strict=False))
    else:
        for name in filter(_INDEX.fullmatch, folder.names()):
            with contextlib.suppress(Damaged), folder.inside(name) as place:
                content = place.read(KATA_ID, Budget(), _MAX_ID_BYTES).decode("utf-8", "replace")
                entries.append((name, content.strip()))
    katas: dict[str, str] = {}
    unplaced = []
    for index, old_id in entries:
        placed = avatar(index)
        is_twice = placed in katas or old_id in katas.values()
        if placed is None or is_twice or not kata_ids.is_old(old_id):
            unplaced.append(f"{old_id} {index}")
        else:
            katas[placed] = old_id
    return Members(katas, tuple(unplaced))


def avatar(index: str) -> str | None:
    """Return the avatar that a group's index stands for; None if it stands for none."""
    is_index = _INDEX.fullmatch(index) is not None and int(index) < len(avatars.NAMES)
    return avatars.NAMES[int(index)] if is_index else None


def _names(folder: Path, of: Iterable[str] | None) -> list[str]:
    """Return the names in a folder, in order; or of some names, those that it has.

    There are none if there is no such folder. To look for a few takes less than to list a folder
    that has thousands.
    """
    if of is not None:
        return sorted(name for name in of if (folder / name).exists())
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _cases(piece: str) -> Iterator[str]:
    """Yield a text of two letters or digits in each way to write it in lower and upper case."""
    for each in product(*((letter.lower(), letter.upper()) for letter in piece)):
        yield "".join(each)
