"""The difference between two lights of an avatar, file by file and line by line."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import pygit2
from pygit2.enums import DeltaStatus, DiffFind, DiffOption

from dojo import limits
from dojo.budget import SmallBudget
from storer.fs.json_files import from_bytes
from storer.git import in_memory
from storer.kata.avatar import Avatar
from storer.kata.edit import At

Files = dict[str, bytes]


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
    """How one file differs. A name is empty if the light does not have the file.

    A file that is `binary` or `too_large` has no runs.
    """

    change: FileChange
    old_name: str
    new_name: str
    old: bytes
    new: bytes
    binary: bool = False
    too_large: bool = False

    def runs(self) -> list[Run]:
        """Compare the contents, line by line."""
        return [] if self.binary or self.too_large else list(_runs(self.old, self.new))


def count(runs: Iterable[Run], change: LineChange) -> int:
    """Return the number of lines with this change."""
    return sum([len(run.lines) for run in runs if run.change is change])


class Comparison(NamedTuple):
    """The visible files of two lights, by name."""

    old: Files
    new: Files

    @property
    def is_small(self) -> bool:
        """Whether the files are compared so fast that other calls can wait for it."""
        contents = [*self.new.values()]
        contents += [old for name, old in self.old.items() if self.new.get(name) is not old]
        size = sum(map(len, contents))
        has_few_lines = (
            size <= limits.SMALL_COMPARED_LINES  # each line has a byte
            or sum(map(_line_count, contents)) <= limits.SMALL_COMPARED_LINES
        )
        return (
            size <= limits.SMALL_COMPARED_BYTES
            and has_few_lines
            and self._rename_pairs <= limits.SMALL_RENAME_PAIRS
        )

    @property
    def _rename_pairs(self) -> int:
        return len(self.old.keys() - self.new.keys()) * len(self.new.keys() - self.old.keys())

    def git_diff(self, flags: DiffOption) -> pygit2.Diff:
        """Return git's difference, with renames detected."""
        same = {name for name, old in self.old.items() if self.new.get(name) == old}
        old, new = in_memory.trees(
            *({name: files[name] for name in files.keys() - same} for files in self)
        )
        found = old.diff_to_tree(new, flags=flags, context_lines=3)
        if self._rename_pairs > limits.MAX_RENAME_PAIRS:
            found.find_similar(DiffFind.FIND_RENAMES | DiffFind.FIND_EXACT_MATCH_ONLY)
        elif self._rename_pairs:
            found.find_similar()
        return found


def read(avatar: Avatar, was: At, now: At, max_bytes: int | None = None) -> Comparison:
    """Read the files of two lights or edits.

    Raises LightNotFound, EditNotFound, KataDamaged, or NotSmall if they have more than `max_bytes`.
    """
    found = [avatar.find(at) for at in (was, now)]
    known: dict[str, bytes] = {}
    budget = SmallBudget(max_bytes=max_bytes)
    history = avatar.open_history()
    return Comparison(
        *(
            history.files(light.number, known, budget, minor=edit.minor if edit else 0)
            for light, edit in found
        )
    )


class _Allowance:
    """How much of two lights may still be compared line by line."""

    def __init__(self) -> None:
        self._lines = limits.MAX_COMPARED_LINES
        self._bytes = limits.MAX_COMPARED_BYTES

    def take(self, old: bytes, new: bytes) -> bool:
        """Take the lines of a file of both lights; return false, and take none, if too few remain.

        The lines of a file that is unchanged count once.
        """
        size, lines = len(new), _line_count(new)
        if old != new:
            size += len(old)
            lines += _line_count(old)
        if size > self._bytes or lines > self._lines:
            return False
        self._bytes -= size
        self._lines -= lines
        return True


def diff(compared: Comparison) -> Iterator[FileDiff]:
    """Yield how each visible file differs between two lights, in the order of file names."""
    old, new = compared
    created, deleted = new.keys() - old.keys(), old.keys() - new.keys()
    # Without both, no file can have been renamed, and git need not look for renames.
    renamed = _renamed(compared) if created and deleted else {}
    kept = old.keys() & new.keys()
    changes = (
        *((_change(old[name], new[name]), name, name) for name in kept),
        *((FileChange.RENAMED, before, name) for name, before in renamed.items()),
        *((FileChange.CREATED, "", name) for name in created.difference(renamed)),
        *((FileChange.DELETED, name, "") for name in deleted.difference(renamed.values())),
    )
    allowance = _Allowance()
    for change, old_name, new_name in sorted(changes, key=lambda each: each[2] or each[1]):
        was, now = old.get(old_name, b""), new.get(new_name, b"")
        binary = _is_binary(was, now)
        too_large = not (binary or allowance.take(was, now))
        yield FileDiff(change, old_name, new_name, was, now, binary, too_large)


def patch(compared: Comparison) -> Iterator[bytes]:
    """Yield the difference as a unified patch, file by file; files too large for it are binary."""
    found = compared.git_diff(DiffOption.SHOW_BINARY)
    as_binary: pygit2.Diff | None = None
    allowance = _Allowance()
    for place, delta in enumerate(found.deltas):
        old = compared.old.get(from_bytes(delta.old_file.raw_path), b"")
        new = compared.new.get(from_bytes(delta.new_file.raw_path), b"")
        shown = found
        if not (_is_binary(old, new) or allowance.take(old, new)):
            as_binary = as_binary or compared.git_diff(
                DiffOption.SHOW_BINARY | DiffOption.FORCE_BINARY
            )
            shown = as_binary
        if (each := shown[place]) is not None:
            yield _patch_of_file(each)


def _patch_of_file(found: pygit2.Patch) -> bytes:
    text: bytes = found.data
    if found.delta.old_file.id != found.delta.new_file.id:
        return text
    *lines, last = text.splitlines(keepends=True) or [b""]
    # For a binary file that was only renamed, libgit2 adds the line "Binary files … differ", and
    # `git apply` refuses a patch with that line.
    return b"".join(lines) if last.startswith(b"Binary files ") else text


def _renamed(compared: Comparison) -> dict[str, str]:
    """Return new name -> old name of the files that git detects as renamed."""
    return {
        from_bytes(delta.new_file.raw_path): from_bytes(delta.old_file.raw_path)
        for delta in compared.git_diff(DiffOption.FORCE_TEXT).deltas
        if delta.status == DeltaStatus.RENAMED
    }


def _change(old: bytes, new: bytes) -> FileChange:
    return FileChange.UNCHANGED if old == new else FileChange.CHANGED


def _is_binary(old: bytes, new: bytes) -> bool:
    """Return whether a file has a NUL byte anywhere, whatever .gitattributes says.

    Git looks for one only in the beginning of a file.
    """
    return b"\0" in old or b"\0" in new


def _line_count(content: bytes) -> int:
    return content.count(b"\n") + (content[-1:] not in {b"", b"\n"})


def _runs(old: bytes, new: bytes) -> Iterator[Run]:
    """Yield the lines of both contents, merged into runs."""
    if old == new:
        if new:
            yield Run(LineChange.SAME, 1, 1, _lines(new), not new.endswith(b"\n"))
        return
    old_lines, new_lines = _lines(old), _lines(new)
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
