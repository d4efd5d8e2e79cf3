"""Takes an avatar's git history that somebody else wrote, and checks all that reading will need.

Each light is checked, not the newest alone. A light's files are counted from git's trees without
being expanded: a few trees that hold each other can stand for millions of files.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pygit2

from dojo import visible_files, waits
from dojo.budget import Budget, BudgetExceeded
from dojo.errors import KataDamaged
from dojo.limits import GIT_BYTES, GIT_DEPTH, GIT_TREE_FILES
from dojo.naming import SANDBOX
from storer.fs import durable, json_files
from storer.fs.json_files import Unreadable
from storer.git import untrusted_repository
from storer.git.libgit2 import in_words
from storer.git.reader import GitReader, TreeEntry, entries
from storer.git.untrusted_repository import Damaged, Remove, Taken
from storer.kata import edit, light
from storer.kata.history import GIT, LIGHT_JSON, tag_of
from storer.kata.light import Light
from storer.kata.lights import INCREMENTS, LightsCache
from storer.kata.recorder import Recorder

# Each object is read once or twice, and again for each light that shares it with others.
_READ_BYTES = 2 * GIT_BYTES

_MODES = {0o100644, 0o100755, 0o100664, 0o120000, 0o040000, 0o160000}


@dataclass(frozen=True, slots=True)
class _Facts:
    """What is in a tree, and in all trees below.

    The number and bytes of the files, those of the largest, the levels of trees, the bytes of the
    longest path, and the first name that no visible file can have, with the reason.
    """

    files: int = 0
    size_bytes: int = 0
    largest_bytes: int = 0
    depth: int = 1
    path_bytes: int = 0
    fault: str = ""


def take(
    folder: Path, kata_id: str, avatar: str, budget: Budget, remove: Remove
) -> tuple[Recorder, list[int]]:
    """Take the history in an avatar's `folder`; return it, and the numbers of its lights' tags.

    Only objects and references are kept; `remove` is as for `untrusted_repository.take`. Raises
    KataDamaged, naming the file, or BudgetExceeded, as the history does.
    """
    reading = Budget(max_bytes=_READ_BYTES)
    try:
        taken = untrusted_repository.take(folder / GIT, budget, remove)
        history = Recorder.create(folder, kata_id, avatar, budget=reading)
        check = _TreesCheck(GitReader(folder / GIT, reading), taken)
        check.follow(taken.references.values())
        for number in taken.light_numbers:
            check.light(tag_of(number))
        for number, minor in history.edit_numbers():
            check.light(edit.tag_of(number, minor))
            history.edit(number, minor)
    except Damaged as error:
        raise KataDamaged(kata_id, f"{avatar}/{GIT}/{error.path}", error.reason) from None
    except (pygit2.GitError, KeyError, ValueError) as error:
        raise KataDamaged(kata_id, f"{avatar}/{GIT}", in_words(error)) from error
    return history, taken.light_numbers


def lights(
    folder: Path, history: Recorder, tags: Iterable[int], legacy_start: Light, remove: Remove
) -> tuple[Light, ...]:
    """Return the lights of the avatar in `folder` as they will be read, if all can be read.

    Lights that git describes are listed in increments.json as git has them. `legacy_start` is as
    for LightsCache, `remove` as for `take`. Raises KataDamaged.
    """
    try:
        listed = {
            light.from_json(each).number: each
            for each in json_files.read(folder / INCREMENTS, list)
        }
        found = LightsCache().read(folder, history, history.light(0), legacy_start).all
    except Unreadable as error:
        raise history.damage(INCREMENTS, str(error)) from error
    numbers = {each.number for each in found}
    described = _described(history, numbers, tags)
    wrong = {
        number: {**listed.get(number, {}), **light.to_json(each)}
        for number, each in described.items()
        if number not in listed or light.from_json(listed[number]) != each
    }
    if wrong:
        merged = sorted({**listed, **wrong}.items())
        remove(folder / INCREMENTS)
        durable.write(folder / INCREMENTS, json_files.dumps([each for _, each in merged]) + b"\n")
        return LightsCache().read(folder, history, history.light(0), legacy_start).all
    return found


def _described(history: Recorder, numbers: set[int], tags: Iterable[int]) -> dict[int, Light]:
    """Return the lights that git describes, without number 0; read those that it does not."""
    described = {}
    read = set()  # what legacy lights have their files from: it can be large, and the same for all
    for number in sorted(numbers.union(tags)):
        waits.check()
        each = history.light(number)
        if each is not None and each.number == number:
            if number not in numbers:
                reason = f"it is light {number}, but light {max(numbers) + 1} is missing"
                raise history.damage(f"{GIT}/{tag_of(number)}", reason)
            if number > 0:
                described[number] = each
        elif number in numbers:
            if each is not None:
                reason = f"is light {each.number}, not {number}"
                raise history.damage(f"{GIT}/{tag_of(number)}:{LIGHT_JSON}", reason)
            if (source := history.legacy_object(number)) not in read:
                history.submission(number)  # a legacy light: all of its files are in one JSON
                read.add(source)
    return described


class _TreesCheck:
    """The check of what a repository's references lead to, each object once."""

    def __init__(self, reader: GitReader, taken: Taken) -> None:
        self._reader = reader
        self._taken = taken
        self._facts: dict[str, _Facts] = {}

    def follow(self, names: Iterable[str]) -> None:
        """Check all commits, tags and trees that these objects lead to. Raises Damaged."""
        pending, seen = list(names), set[str]()
        repository = self._reader.open_repository()
        while pending:
            waits.check()
            name = pending.pop()
            if name in seen:
                continue
            seen.add(name)
            kind = self._taken.kind(name)
            if kind == "tree":
                self._check_tree(name)
            elif kind in {"commit", "tag"}:
                # Its own module read the object, so libgit2 may: its rules are stricter than ours.
                found = repository[name]
                if isinstance(found, pygit2.Commit):
                    pending += [str(each) for each in (found.tree_id, *found.parent_ids)]
                elif isinstance(found, pygit2.Tag):
                    pending.append(str(found.target))

    def light(self, tag: str) -> None:
        """Check the files in the commit of a light or an edit: the limits are of visible files."""
        found = self._reader.open_repository().references[tag].peel(pygit2.Commit).tree_id
        whole = self._check_tree(str(found))
        if whole.files > GIT_TREE_FILES:
            raise Damaged(tag, f"it has {whole.files} files, more than {GIT_TREE_FILES}")
        root = self._reader.root(tag)
        if LIGHT_JSON.encode() not in root and edit.number_of(tag) is None:
            return  # a legacy light: `History` checks the files that its JSON has
        sandbox = root.get(SANDBOX.encode())
        if sandbox is None or not sandbox.is_folder:
            raise Damaged(
                f"{tag}:{SANDBOX}", "is missing" if sandbox is None else "is not a folder"
            )
        if (fault := _fault(self._check_tree(sandbox.object))) is not None:
            raise Damaged(f"{tag}:{SANDBOX}", fault)

    def _check_tree(self, top: str) -> _Facts:
        """Return what is in a tree, with a stack of our own: its depth is the sender's choice."""
        pending = [top]
        while pending:
            waits.check()
            name = pending[-1]
            if name in self._facts:
                pending.pop()
                continue
            listed = list(entries(self._read_tree(name)))
            inside = [
                each.object
                for _, each in listed
                if each.is_folder and each.object not in self._facts
            ]
            if inside:
                pending += inside
            else:
                self._facts[name] = self._add_up(name, listed)
        return self._facts[top]

    def _read_tree(self, name: str) -> bytes:
        if (kind := self._taken.kind(name)) != "tree":
            raise Damaged(_path(name), f"is a {kind}, not a folder")
        return self._reader.read(name)[1]

    def _add_up(self, tree: str, listed: list[tuple[bytes, TreeEntry]]) -> _Facts:
        files = size_bytes = largest_bytes = depth = path_bytes = 0
        fault = ""
        order = [name + b"/" if each.is_folder else name for name, each in listed]
        if order != sorted(order) or len({name for name, _ in listed}) != len(listed):
            raise Damaged(_path(tree), "names are not in order, or are there twice")
        for raw_name, entry in listed:
            name = json_files.from_bytes(raw_name)
            shown = visible_files.shown(name)
            if entry.mode not in _MODES:
                raise Damaged(_path(tree), f"{shown} has the mode {entry.mode:o}")
            if "/" in name or visible_files.is_git_or_dots(name):
                raise Damaged(_path(tree), f"{shown} can't be the name of a file")
            part = visible_files.name_fault(name)
            fault = fault or (f"{shown}: {part}" if part else "")
            found = _Facts()
            if entry.is_folder:
                found = self._facts[entry.object]
                if not (found.files or name == SANDBOX):  # a light can have no files
                    raise Damaged(
                        _path(entry.object), "is an empty folder, which git does not have"
                    )
                path_bytes = max(path_bytes, len(raw_name) + 1 + found.path_bytes)
            else:
                path_bytes = max(path_bytes, len(raw_name))
                if not entry.is_submodule:
                    found = self._file(entry.object)
            files += max(found.files, 1)
            size_bytes += found.size_bytes
            largest_bytes = max(largest_bytes, found.largest_bytes)
            depth = max(depth, found.depth if entry.is_folder else 0)
            fault = fault or found.fault
        if depth >= GIT_DEPTH:
            raise BudgetExceeded(f"{_path(tree)}: more than {GIT_DEPTH} levels deep")
        return _Facts(files, size_bytes, largest_bytes, depth + 1, path_bytes, fault)

    def _file(self, name: str) -> _Facts:
        if (kind := self._taken.kind(name)) != "blob":
            raise Damaged(_path(name), f"is a {kind}, not a file")
        size = self._taken.objects[name][1]
        return _Facts(files=1, size_bytes=size, largest_bytes=size)


def _fault(found: _Facts) -> str | None:
    """Say which limit of visible files is exceeded; None if none is."""
    for value, most, what in (
        (found.files, visible_files.MAX_FILES, "files"),
        (found.largest_bytes, visible_files.MAX_FILE_BYTES, "bytes in one file"),
        (found.size_bytes, visible_files.MAX_TOTAL_BYTES, "bytes in all files"),
        (found.path_bytes, visible_files.MAX_NAME_BYTES, "bytes in one name"),
    ):
        if value > most:
            return f"{value} {what} are more than {most}"
    return found.fault or None


def _path(name: str) -> str:
    return f"objects/{name[:2]}/{name[2:]}"
