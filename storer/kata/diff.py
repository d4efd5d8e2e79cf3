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
from storer.fs.json_files import from_bytes
from storer.git import object_writer
from storer.git.object_writer import NewObjects
from storer.kata.avatar import Avatar

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


class Run(NamedTuple):
    """Lines that follow each other and became the same.

    The numbers are those of the first, from 1, and 0 where the light does not have the lines.
    The lines are without the line feed; `no_newline` says that none ends the last.
    """

    change: LineChange
    old_number: int
    new_number: int
    lines: list[bytes]
    no_newline: bool = False


@dataclass(frozen=True, slots=True)
class FileDiff:
    """How one file differs. Names are empty where there is no such file."""

    change: FileChange
    old_name: str
    new_name: str
    binary: bool
    runs: list[Run] = field(default_factory=list)

    def count(self, change: LineChange) -> int:
        """Return how many lines became so."""
        return sum([len(run.lines) for run in self.runs if run.change is change])


def diff(avatar: Avatar, was: int, now: int) -> list[FileDiff]:
    """Return how each visible file of two lights differs, in the order of their names.

    Raises LightNotFound or KataDamaged.
    """
    was, now = (avatar.light(number).number for number in (was, now))
    known: dict[str, bytes] = {}
    old, new = (avatar.open_history().files(number, known) for number in (was, now))
    created, deleted = new.keys() - old.keys(), old.keys() - new.keys()
    # Only where there are both can one have become the other; finding that is git's.
    renamed = _renamed(avatar, was, now, known) if created and deleted else {}
    told = (
        *((FileChange.CHANGED, name, name) for name in old.keys() & new.keys()),
        *((FileChange.RENAMED, before, name) for name, before in renamed.items()),
        *((FileChange.CREATED, "", name) for name in created.difference(renamed)),
        *((FileChange.DELETED, name, "") for name in deleted.difference(renamed.values())),
    )
    files = [
        _file(change, old_name, new_name, old.get(old_name, b""), new.get(new_name, b""))
        for change, old_name, new_name in told
    ]
    return sorted(files, key=lambda file: file.new_name or file.old_name)


def patch(avatar: Avatar, was: int, now: int) -> Iterator[bytes]:
    """Yield the difference as a unified patch, in chunks. Raises as `diff`."""
    with _Trees(avatar, was, now, {}) as trees:
        found = trees.diff(DiffOption.SHOW_BINARY, context_lines=3)
        yield from chunks.rechunk(_patch_of_file(each) for each in found if each is not None)


class _Trees:
    """The git trees of two lights' visible files, in one repository.

    Lights of old kept what was visible in a JSON file, and not always the same beside it: for
    them the trees are made, in a repository of their own that goes afterwards.
    """

    def __init__(self, avatar: Avatar, was: int, now: int, known: dict[str, bytes]) -> None:
        """Compare these lights; what `known` has of git's objects, by name, is not read again."""
        self._history = avatar.open_history()
        self._numbers = [avatar.light(number).number for number in (was, now)]
        self._known = known
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        was, now = (self._history.tree(number, self._known) for number in self._numbers)
        if was is None or now is None:
            files = [self._history.submission(number).files for number in self._numbers]
            self._folder = tempfile.TemporaryDirectory(prefix="storer-diff-")
            repository = pygit2.init_repository(self._folder.name, bare=True)
            new = NewObjects()
            written = [new.folder(each) for each in files]
            object_writer.write(Path(self._folder.name), new.files)
            was, now = (repository[name].peel(pygit2.Tree) for name in written)
        self._was, self._now = was, now
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def diff(self, flags: DiffOption, context_lines: int) -> pygit2.Diff:
        """Return git's difference, renamed files found."""
        found = self._was.diff_to_tree(self._now, flags=flags, context_lines=context_lines)
        found.find_similar()
        return found


def _patch_of_file(found: pygit2.Patch) -> bytes:
    text: bytes = found.data
    *lines, last = text.splitlines(keepends=True) or [b""]
    if found.delta.old_file.id == found.delta.new_file.id and last.startswith(b"Binary files "):
        # libgit2 says even of a binary file that was only renamed that the two differ, without
        # saying how, and `git apply` takes no such patch.
        return b"".join(lines)
    return text


def _renamed(avatar: Avatar, was: int, now: int, known: dict[str, bytes]) -> dict[str, str]:
    """Return the names of the files that git takes for renamed, from the new ones to the old."""
    with _Trees(avatar, was, now, known) as trees:
        return {
            from_bytes(delta.new_file.raw_path): from_bytes(delta.old_file.raw_path)
            for delta in trees.diff(DiffOption.FORCE_TEXT, context_lines=0).deltas
            if delta.status == DeltaStatus.RENAMED
        }


def _file(change: FileChange, old_name: str, new_name: str, old: bytes, new: bytes) -> FileDiff:
    if change is FileChange.CHANGED and old == new:
        change = FileChange.UNCHANGED
    # Whether a file is binary is told by its content, not by what attributes say of it; git looks
    # for a NUL byte in the beginning alone.
    if b"\0" in old or b"\0" in new:
        return FileDiff(change, old_name, new_name, binary=True)
    return FileDiff(change, old_name, new_name, binary=False, runs=list(_runs(old, new)))


def _runs(old: bytes, new: bytes) -> Iterator[Run]:
    """Yield the lines of two contents, merged."""
    old_lines = _lines(old)
    new_lines = old_lines if old == new else _lines(new)
    old_count, new_count = len(old_lines), len(new_lines)
    old_is_open, new_is_open = (bool(each) and not each.endswith(b"\n") for each in (old, new))
    old_at = new_at = 0
    for old_start, old_end, new_start, new_end in (
        *_changes(old, new),
        (old_count, old_count, new_count, new_count),
    ):
        if old_at < old_start:
            lines = old_lines[old_at:old_start]
            is_open = old_is_open and old_start == old_count
            yield Run(LineChange.SAME, old_at + 1, new_at + 1, lines, is_open)
        if old_start < old_end:
            lines = old_lines[old_start:old_end]
            is_open = old_is_open and old_end == old_count
            yield Run(LineChange.DELETED, old_start + 1, 0, lines, is_open)
        if new_start < new_end:
            lines = new_lines[new_start:new_end]
            is_open = new_is_open and new_end == new_count
            yield Run(LineChange.ADDED, 0, new_start + 1, lines, is_open)
        old_at, new_at = old_end, new_end


def _changes(old: bytes, new: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield where two contents differ: from which line to which of the old and of the new."""
    if old == new:
        return
    found = pygit2.Patch.create_from(old, new, flag=DiffOption.FORCE_TEXT, context_lines=0)
    for hunk in found.hunks:
        # git names the line before a place that has none of the lines.
        old_start = hunk.old_start - bool(hunk.old_lines)
        new_start = hunk.new_start - bool(hunk.new_lines)
        yield old_start, old_start + hunk.old_lines, new_start, new_start + hunk.new_lines


def _lines(content: bytes) -> list[bytes]:
    lines = content.split(b"\n")
    if not lines[-1]:
        lines.pop()  # what comes after the last line feed is no line
    return lines
