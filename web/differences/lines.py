"""A file's difference as plain lines: out of the storer's answer, or of two contents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pygit2
import pygit2.enums

from cyber_dojo_client import text
from cyberdojo.storer.v1 import storer_pb2

MAX_COMPARED_BYTES = 128 * 1024
"""Both contents of one file, for a comparison here: libgit2 takes at most a fifth of a second."""

MAX_COMPARED_TOTAL_BYTES = 512 * 1024
"""All files of one comparison here; those beyond are told to be too large."""

MAX_LINES = 100_000
"""The lines of all files of one comparison; files beyond are told to be too large."""

MAX_LINE_CHARACTERS = 5000
"""The characters of one line that are shown."""

_CHANGES = {
    storer_pb2.FILE_CHANGE_CREATED: "created",
    storer_pb2.FILE_CHANGE_DELETED: "deleted",
    storer_pb2.FILE_CHANGE_RENAMED: "renamed",
    storer_pb2.FILE_CHANGE_CHANGED: "changed",
    storer_pb2.FILE_CHANGE_UNCHANGED: "unchanged",
}


@dataclass(frozen=True)
class Line:
    """A line. `was` and `now` are its numbers, from 1; 0 where it is not there."""

    was: int
    now: int
    text: str
    no_newline: bool = False


@dataclass(frozen=True)
class FileLines:
    """How a file differs. `change` is a word: created, deleted, renamed, changed, unchanged.

    `old_name` is empty for a created file, `new_name` for a deleted one. A binary file, and one
    that is too large to compare, has no lines.
    """

    change: str
    old_name: str
    new_name: str
    lines: tuple[Line, ...] = ()
    added: int = 0
    deleted: int = 0
    is_binary: bool = False
    is_too_large: bool = False

    @property
    def name(self) -> str:
        """The name that it has, or had."""
        return self.new_name or self.old_name


def answered(files: Iterable[storer_pb2.FileDiff]) -> list[FileLines]:
    """Return the files of DiffLights' answer."""
    left = MAX_LINES
    found = []
    for file in files:
        is_too_large = file.too_large or len(file.lines) > left
        lines = () if is_too_large else file.lines
        left -= len(lines)
        found.append(
            FileLines(
                change=_CHANGES.get(file.change, "changed"),
                old_name=file.old_name,
                new_name=file.new_name,
                lines=tuple(
                    Line(line.old_number, line.new_number, _decoded(line.text), line.no_newline)
                    for line in lines
                ),
                added=file.added_count,
                deleted=file.deleted_count,
                is_binary=file.binary,
                is_too_large=is_too_large,
            )
        )
    return found


def compared(was: Mapping[str, bytes], now: Mapping[str, bytes]) -> list[FileLines]:
    """Return what differs between the files of two avatars' lights, in the order of their names.

    DiffLights compares lights of one avatar; these two share no history, so no file counts as
    renamed. Takes up to a second of a processor: not for an event loop.
    """
    left = MAX_COMPARED_TOTAL_BYTES
    found = []
    for name in sorted(was.keys() | now.keys()):
        old, new = was.get(name), now.get(name)
        if old == new:
            continue
        change = "created" if old is None else "deleted" if new is None else "changed"
        old_name, new_name = "" if old is None else name, "" if new is None else name
        size = len(old or b"") + len(new or b"")
        if any(each is not None and text(each) is None for each in (old, new)):
            found.append(FileLines(change, old_name, new_name, is_binary=True))
        elif size > min(MAX_COMPARED_BYTES, left):
            found.append(FileLines(change, old_name, new_name, is_too_large=True))
        else:
            left -= size
            lines = tuple(_compared(old or b"", new or b""))
            added, deleted = (
                sum(not line.was for line in lines),
                sum(not line.now for line in lines),
            )
            found.append(FileLines(change, old_name, new_name, lines, added, deleted))
    return found


def unchanged(name: str, content: bytes) -> FileLines:
    """Return a file that both lights have."""
    decoded = text(content)
    if decoded is None:
        return FileLines("unchanged", name, name, is_binary=True)
    has_end = decoded.endswith("\n") or not decoded
    each = decoded.removesuffix("\n").split("\n") if decoded else []
    lines = tuple(
        Line(
            number,
            number,
            _cut(line, len(line.encode())),
            no_newline=number == len(each) and not has_end,
        )
        for number, line in enumerate(each, 1)
    )
    return FileLines("unchanged", name, name, lines)


def _compared(old: bytes, new: bytes) -> Iterable[Line]:
    patch = pygit2.Patch.create_from(
        old,
        new,
        flag=pygit2.enums.DiffOption.FORCE_TEXT,
        context_lines=max(old.count(b"\n"), new.count(b"\n")) + 1,
    )
    found: list[Line] = []
    for hunk in patch.hunks:
        for line in hunk.lines:
            if line.origin in "<>=":  # that the line before has no line feed at its end
                continue
            was, now = max(line.old_lineno, 0), max(line.new_lineno, 0)
            content = line.raw_content
            found.append(
                Line(was, now, _decoded(content.removesuffix(b"\n")), b"\n" not in content)
            )
    return found


def _decoded(line: bytes) -> str:
    return _cut(line[: 4 * MAX_LINE_CHARACTERS + 4].decode("utf-8", "replace"), len(line))


def _cut(line: str, size: int) -> str:
    """Return as much of a line as is shown; `size` is that of the whole, for people."""
    if len(line) <= MAX_LINE_CHARACTERS:
        return line
    return f"{line[:MAX_LINE_CHARACTERS]} … (a line of {size} bytes)"
