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


class FileChange(Enum):
    """How a file changed."""

    CREATED = "created"
    DELETED = "deleted"
    RENAMED = "renamed"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


class LineChange(Enum):
    """How a line changed."""

    SAME = "same"
    ADDED = "added"
    DELETED = "deleted"


class Run(NamedTuple):
    """Consecutive lines with the same change.

    The numbers, from 1, are those of the first line in the old and in the new light; 0 if the light
    does not have the lines. The lines have no line feed; `no_newline` says that the file does not
    end with one.
    """

    change: LineChange
    old_number: int
    new_number: int
    lines: list[bytes]
    no_newline: bool = False


@dataclass(frozen=True, slots=True)
class FileDiff:
    """How one file differs. A name is empty if the light does not have the file."""

    change: FileChange
    old_name: str
    new_name: str
    binary: bool
    runs: list[Run] = field(default_factory=list)

    def count(self, change: LineChange) -> int:
        """Return the number of lines with this change."""
        return sum([len(run.lines) for run in self.runs if run.change is change])


def diff(avatar: Avatar, was: int, now: int) -> list[FileDiff]:
    """Return how each visible file differs between two lights, in the order of file names.

    Raises LightNotFound or KataDamaged.
    """
    was, now = (avatar.light(number).number for number in (was, now))
    known: dict[str, bytes] = {}
    old, new = (avatar.open_history().files(number, known) for number in (was, now))
    created, deleted = new.keys() - old.keys(), old.keys() - new.keys()
    # Without both, no file can have been renamed, and git need not look for renames.
    renamed = _renamed(avatar, was, now, known) if created and deleted else {}
    changes = (
        *((FileChange.CHANGED, name, name) for name in old.keys() & new.keys()),
        *((FileChange.RENAMED, before, name) for name, before in renamed.items()),
        *((FileChange.CREATED, "", name) for name in created.difference(renamed)),
        *((FileChange.DELETED, name, "") for name in deleted.difference(renamed.values())),
    )
    files = [
        _file(change, old_name, new_name, old.get(old_name, b""), new.get(new_name, b""))
        for change, old_name, new_name in changes
    ]
    return sorted(files, key=lambda file: file.new_name or file.old_name)


def patch(avatar: Avatar, was: int, now: int) -> Iterator[bytes]:
    """Yield the difference as a unified patch, in chunks; raise what `diff` raises."""
    with _Trees(avatar, was, now, {}) as trees:
        patches = trees.diff(DiffOption.SHOW_BINARY, context_lines=3)
        yield from chunks.rechunk(_patch_of_file(each) for each in patches if each is not None)


class _Trees:
    """The git trees of two lights' visible files, in one repository.

    A legacy light has its visible files in a JSON file, and its tree can differ from these. So
    trees are written for legacy lights, into a temporary repository.
    """

    def __init__(self, avatar: Avatar, was: int, now: int, known: dict[str, bytes]) -> None:
        """Compare these lights; git objects that `known` has, by name, are not read again."""
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
        """Return git's difference, with renames detected."""
        found = self._was.diff_to_tree(self._now, flags=flags, context_lines=context_lines)
        found.find_similar()
        return found


def _patch_of_file(found: pygit2.Patch) -> bytes:
    text: bytes = found.data
    *lines, last = text.splitlines(keepends=True) or [b""]
    if found.delta.old_file.id == found.delta.new_file.id and last.startswith(b"Binary files "):
        # For a binary file that was only renamed, libgit2 adds the line "Binary files … differ",
        # and `git apply` refuses a patch with that line.
        return b"".join(lines)
    return text


def _renamed(avatar: Avatar, was: int, now: int, known: dict[str, bytes]) -> dict[str, str]:
    """Return new name -> old name of the files that git detects as renamed."""
    with _Trees(avatar, was, now, known) as trees:
        return {
            from_bytes(delta.new_file.raw_path): from_bytes(delta.old_file.raw_path)
            for delta in trees.diff(DiffOption.FORCE_TEXT, context_lines=0).deltas
            if delta.status == DeltaStatus.RENAMED
        }


def _file(change: FileChange, old_name: str, new_name: str, old: bytes, new: bytes) -> FileDiff:
    if change is FileChange.CHANGED and old == new:
        change = FileChange.UNCHANGED
    # A NUL byte anywhere makes a file binary, whatever .gitattributes says. Git looks for one only
    # in the beginning of a file.
    if b"\0" in old or b"\0" in new:
        return FileDiff(change, old_name, new_name, binary=True)
    return FileDiff(change, old_name, new_name, binary=False, runs=list(_runs(old, new)))


def _runs(old: bytes, new: bytes) -> Iterator[Run]:
    """Yield the lines of both contents, merged into runs."""
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
    """Yield, for each difference, the half-open ranges of lines: old start and end, new ones."""
    if old == new:
        return
    text_patch = pygit2.Patch.create_from(old, new, flag=DiffOption.FORCE_TEXT, context_lines=0)
    for hunk in text_patch.hunks:
        # For an empty range, git gives the number of the line before the range.
        old_start = hunk.old_start - bool(hunk.old_lines)
        new_start = hunk.new_start - bool(hunk.new_lines)
        yield old_start, old_start + hunk.old_lines, new_start, new_start + hunk.new_lines


def _lines(content: bytes) -> list[bytes]:
    lines = content.split(b"\n")
    if not lines[-1]:
        lines.pop()  # nothing follows the last line feed
    return lines
