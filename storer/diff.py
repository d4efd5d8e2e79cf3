"""The difference between two lights of an avatar, file by file and line by line."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import NamedTuple, Self

import pygit2
from pygit2.enums import DeltaStatus, DiffOption

from dojo import chunks
from storer import objects
from storer.avatar import Avatar
from storer.json_files import from_bytes
from storer.objects import NewObjects

# So many that every line of a file is one: a difference shows all lines.
_ALL_LINES = 2**31 - 1


class FileChange(Enum):
    """What became of a file."""

    CREATED = "created"
    DELETED = "deleted"
    RENAMED = "renamed"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


class LineChange(Enum):
    """What became of a line."""

    SAME = "same"
    ADDED = "added"
    DELETED = "deleted"


class LineDiff(NamedTuple):
    """One line; its numbers start from 1, and are 0 where the light does not have it.

    `text` is without the line feed; `no_newline` says that none ends the file.
    """

    change: LineChange
    old_number: int
    new_number: int
    text: bytes
    no_newline: bool = False


@dataclass(frozen=True, slots=True)
class FileDiff:
    """How one file differs. Names are empty where there is no such file."""

    change: FileChange
    old_name: str
    new_name: str
    binary: bool
    lines: list[LineDiff] = field(default_factory=list)

    def count(self, change: LineChange) -> int:
        """Return how many lines became so."""
        return sum(line.change is change for line in self.lines)


def diff(avatar: Avatar, was: int, now: int) -> list[FileDiff]:
    """Return how each visible file of two lights differs, in the order of their names.

    Raises LightNotFound or KataDamaged.
    """
    with _Trees(avatar, was, now) as trees:
        # Whether a file is binary is told by its content, not by what attributes say of it.
        flags = DiffOption.INCLUDE_UNMODIFIED | DiffOption.FORCE_TEXT
        found = trees.diff(flags, context_lines=_ALL_LINES)
        files = [
            _file(trees.repository, found, place, delta) for place, delta in enumerate(found.deltas)
        ]
    return sorted(files, key=lambda file: file.new_name or file.old_name)


def patch(avatar: Avatar, was: int, now: int) -> Iterator[bytes]:
    """Yield the difference as a unified patch, in chunks. Raises as `diff`."""
    with _Trees(avatar, was, now) as trees:
        found = trees.diff(DiffOption.SHOW_BINARY, context_lines=3)
        yield from chunks.rechunk(_patch_of_file(each) for each in found if each is not None)


class _Trees:
    """The git trees of two lights' visible files, in one repository.

    Lights of old kept what was visible in a JSON file, and not always the same beside it: for
    them the trees are made, in a repository of their own that goes afterwards.
    """

    def __init__(self, avatar: Avatar, was: int, now: int) -> None:
        self._avatar = avatar
        self._numbers = [avatar.light(number).number for number in (was, now)]
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        history = self._avatar.history
        if any(history.is_of_old(number) for number in self._numbers):
            files = [history.submission(number).files for number in self._numbers]
            self._folder = tempfile.TemporaryDirectory(prefix="storer-diff-")
            self.repository = pygit2.init_repository(self._folder.name, bare=True)
            new = NewObjects()
            written = [new.folder(each) for each in files]
            objects.write(Path(self._folder.name), new.files)
            self._was, self._now = (self.repository[name].peel(pygit2.Tree) for name in written)
        else:
            self.repository = history.repository
            self._was, self._now = (history.tree(number) for number in self._numbers)
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def diff(self, flags: DiffOption, context_lines: int) -> pygit2.Diff:
        """Return git's difference, renamed files found."""
        found = self._was.diff_to_tree(self._now, flags=flags, context_lines=context_lines)
        found.find_similar()
        return found


_FILE_CHANGES = {
    DeltaStatus.ADDED: FileChange.CREATED,
    DeltaStatus.DELETED: FileChange.DELETED,
    DeltaStatus.RENAMED: FileChange.RENAMED,
    DeltaStatus.MODIFIED: FileChange.CHANGED,
    DeltaStatus.UNMODIFIED: FileChange.UNCHANGED,
}

_LINE_CHANGES = {
    " ": LineChange.SAME,
    "+": LineChange.ADDED,
    "-": LineChange.DELETED,
}


def _patch_of_file(found: pygit2.Patch) -> bytes:
    text: bytes = found.data
    *lines, last = text.splitlines(keepends=True) or [b""]
    if found.delta.old_file.id == found.delta.new_file.id and last.startswith(b"Binary files "):
        # libgit2 says even of a binary file that was only renamed that the two differ, without
        # saying how, and `git apply` takes no such patch.
        return b"".join(lines)
    return text


def _file(
    repository: pygit2.Repository, found: pygit2.Diff, place: int, delta: pygit2.DiffDelta
) -> FileDiff:
    change = _FILE_CHANGES[delta.status]
    old_name = "" if change is FileChange.CREATED else from_bytes(delta.old_file.raw_path)
    new_name = "" if change is FileChange.DELETED else from_bytes(delta.new_file.raw_path)
    if delta.old_file.id == delta.new_file.id:
        content = _blob(repository, delta.new_file.id).data
        if b"\0" in content:
            return FileDiff(change, old_name, new_name, binary=True)
        lines = list(_same_lines(content))
    elif _is_binary(repository, delta):
        return FileDiff(change, old_name, new_name, binary=True)
    else:
        patch = found[place]
        lines = list(_lines(patch)) if patch is not None else []
    return FileDiff(change, old_name, new_name, binary=False, lines=lines)


def _is_binary(repository: pygit2.Repository, delta: pygit2.DiffDelta) -> bool:
    """Say whether either file holds a NUL byte; git looks for one in the beginning alone."""
    change = _FILE_CHANGES[delta.status]
    names = {
        *([] if change is FileChange.CREATED else [delta.old_file.id]),
        *([] if change is FileChange.DELETED else [delta.new_file.id]),
    }
    return any(b"\0" in _blob(repository, name).data for name in names)


def _blob(repository: pygit2.Repository, name: pygit2.Oid) -> pygit2.Blob:
    found = repository[name]
    if not isinstance(found, pygit2.Blob):
        raise TypeError(f"{name} is not a blob")
    return found


def _lines(found: pygit2.Patch) -> Iterator[LineDiff]:
    """Yield a patch's lines; git's remark on a missing line feed goes to the line before it."""
    for hunk in found.hunks:
        for line in hunk.lines:
            change = _LINE_CHANGES.get(line.origin)
            if change is None:
                continue  # the remark: the line before has no line feed of its own
            text = line.raw_content
            yield LineDiff(
                change,
                max(line.old_lineno, 0),
                max(line.new_lineno, 0),
                text.removesuffix(b"\n"),
                no_newline=not text.endswith(b"\n"),
            )


def _same_lines(content: bytes) -> Iterator[LineDiff]:
    *whole, rest = content.split(b"\n")
    for number, text in enumerate(whole, start=1):
        yield LineDiff(LineChange.SAME, number, number, text)
    if rest:
        number = len(whole) + 1
        yield LineDiff(LineChange.SAME, number, number, rest, no_newline=True)
