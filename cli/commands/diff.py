"""`cyber-dojo diff`: show what changed between two lights."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click

from cli import exits
from cli.client import Client
from cli.parameters import NEWEST, AvatarName, KataId, LightPlace, Place
from cli.storer_command import Session, storer_command
from cli.terminal import contents
from cli.terminal.clean import clean, line
from cli.terminal.screen import Screen
from cli.terminal.tables import Side, side_by_side
from cyberdojo.storer.v1 import storer_pb2

_CONTEXT = 3
_MARKS = {
    storer_pb2.LINE_CHANGE_SAME: (" ", ""),
    storer_pb2.LINE_CHANGE_ADDED: ("+", "green"),
    storer_pb2.LINE_CHANGE_DELETED: ("-", "red"),
}
_NUMBER_COLUMNS = 5  # for a line's number, in a side-by-side difference
_PLAIN_COLUMNS = 100  # of a side-by-side difference that does not go to a terminal


@storer_command
@click.argument("kata_id", type=KataId(), metavar="ID")
@click.argument("avatar", type=AvatarName(), metavar="AVATAR")
@click.argument("was", type=LightPlace(), required=False, metavar="[WAS]")
@click.argument("now", type=LightPlace(), default="newest", metavar="[NOW]")
@click.option("-y", "--side-by-side", "in_columns", is_flag=True, help="Show both, in two columns.")
@click.option("--patch", is_flag=True, help="Write a patch that git apply takes.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 if there is a difference.")
def command(
    session: Session,
    kata_id: str,
    avatar: str,
    was: Place | None,
    now: Place,
    *,
    in_columns: bool,
    patch: bool,
    exit_code: bool,
) -> int:
    """Show what changed between two lights.

    NOW is the newest light by default, and WAS the one before NOW: of an edit, the light that it
    comes after. A light is a number, or `newest`; an edit is a light's number and its own, as 3.1.
    """
    if in_columns and patch:
        raise click.UsageError("--side-by-side and --patch exclude each other")
    lights = _Lights(session.client, kata_id, avatar, was, now)
    screen = session.screen
    if patch:
        is_different = _write_patch(session, lights)
    else:
        changed = lights.changed_files()
        is_different = bool(changed)
        for file in changed:
            if screen.as_json:
                screen.record(_json(file))
            else:
                _say(screen, file, in_columns=in_columns)
        if not changed and not screen.as_json:
            screen.say(
                f"nothing changed between {lights.was.title} and {lights.now.title}", style="dim"
            )
    return exits.FOUND if is_different and exit_code else exits.GOOD


class _Lights:
    """The two lights, or edits, to compare, of one avatar."""

    def __init__(
        self, client: Client, kata_id: str, avatar: str, was: Place | None, now: Place
    ) -> None:
        self._client = client
        self._avatar: dict[str, Any] = {"kata_id": kata_id, "avatar": avatar}
        newest = self._newest() if NEWEST in {was, now} else NEWEST
        self.now = newest if now == NEWEST else now
        before = Place(self.now.light if self.now.edit else max(0, self.now.light - 1))
        self.was = newest if was == NEWEST else before if was is None else was

    def changed_files(self) -> list[storer_pb2.FileDiff]:
        """Return the files that differ between the two lights."""
        request = storer_pb2.DiffLightsRequest(**self._two, changed_only=True)
        return list(self._client.stub.DiffLights(request).files)

    def patch(self) -> Iterator[bytes]:
        """Yield a patch from `was` to `now`, in pieces."""
        request = storer_pb2.DownloadPatchRequest(**self._two)
        for part in self._client.stub.DownloadPatch(request):
            yield part.data

    @property
    def _two(self) -> dict[str, Any]:
        return {
            **self._avatar,
            "was_number": self.was.light,
            "was_edit_number": self.was.edit,
            "now_number": self.now.light,
            "now_edit_number": self.now.edit,
        }

    def _newest(self) -> Place:
        request = storer_pb2.GetFilesRequest(**self._avatar, light_number=NEWEST.light)
        return Place(self._client.stub.GetFiles(request).light.number)


def _write_patch(session: Session, lights: _Lights) -> bool:
    """Write a patch, cleaned if it goes to a terminal; return whether it has any content."""
    count = 0
    left = b""
    for piece in lights.patch():
        count += len(piece)
        if not session.screen.is_terminal:
            sys.stdout.buffer.write(piece)
            continue
        *lines, left = (left + piece).split(b"\n")
        for each in lines:
            session.screen.say(clean(each))
    session.screen.flush()
    return count > 0


def _say(screen: Screen, file: storer_pb2.FileDiff, *, in_columns: bool) -> None:
    screen.say(_title(file), style="bold")
    if file.binary:
        screen.say("(not text)", style="dim")
    elif file.too_large:
        screen.say("(too large to compare)", style="dim")
    elif in_columns:
        _say_in_columns(screen, file)
    else:
        _say_unified(screen, file)


def _title(file: storer_pb2.FileDiff) -> str:
    change = storer_pb2.FileChange.Name(file.change).removeprefix("FILE_CHANGE_").lower()
    name = file.new_name or file.old_name
    if file.change == storer_pb2.FILE_CHANGE_RENAMED:
        name = f"{file.old_name} → {file.new_name}"
    return f"── {name} ── {change}, +{file.added_count} -{file.deleted_count}"


def _say_unified(screen: Screen, file: storer_pb2.FileDiff) -> None:
    for hunk in _hunks(file.lines):
        old = next((each.old_number for each in hunk if each.old_number), 0)
        new = next((each.new_number for each in hunk if each.new_number), 0)
        screen.say(f"@@ -{old} +{new} @@", style="dim")
        for each in hunk:
            mark, colour = _MARKS[each.change]
            screen.say(mark + line(each.text), style=colour)
            if each.no_newline:
                screen.say("\\ no line feed at the end", style="dim")


def _say_in_columns(screen: Screen, file: storer_pb2.FileDiff) -> None:
    width = screen.width if screen.is_terminal else _PLAIN_COLUMNS
    for hunk in _hunks(file.lines):
        rows = (_row(left, right) for left, right in _pairs(hunk))
        side_by_side(screen, rows, width, _NUMBER_COLUMNS)
        screen.say("···", style="dim")


def _row(
    left: storer_pb2.DiffLine | None, right: storer_pb2.DiffLine | None
) -> tuple[Side, str, Side]:
    is_same = left is right
    before = _side(left, left.old_number if left else 0, "" if is_same else "red")
    after = _side(right, right.new_number if right else 0, "" if is_same else "green")
    return before, " " if is_same else "|", after


def _side(each: storer_pb2.DiffLine | None, number: int, style: str) -> Side:
    return (f"{number:>4}", (line(each.text), style)) if each else ("", "")


def _pairs(
    hunk: Sequence[storer_pb2.DiffLine],
) -> Iterator[tuple[storer_pb2.DiffLine | None, storer_pb2.DiffLine | None]]:
    """Yield a hunk's lines in pairs: a deleted line with the line added in its place."""
    deleted: list[storer_pb2.DiffLine] = []
    added: list[storer_pb2.DiffLine] = []
    for each in [*hunk, None]:
        if each is not None and each.change == storer_pb2.LINE_CHANGE_DELETED:
            deleted.append(each)
        elif each is not None and each.change == storer_pb2.LINE_CHANGE_ADDED:
            added.append(each)
        else:
            for place in range(max(len(deleted), len(added))):
                yield (
                    deleted[place] if place < len(deleted) else None,
                    added[place] if place < len(added) else None,
                )
            deleted, added = [], []
            if each is not None:
                yield each, each


def _hunks(lines: Sequence[storer_pb2.DiffLine]) -> Iterator[list[storer_pb2.DiffLine]]:
    """Yield the changed lines, each group with _CONTEXT lines around it."""
    changed = [
        place for place, each in enumerate(lines) if each.change != storer_pb2.LINE_CHANGE_SAME
    ]
    begin = end = -1
    for place in changed:
        if begin < 0 or place - _CONTEXT > end:
            if begin >= 0:
                yield list(lines[begin:end])
            begin = max(0, place - _CONTEXT)
        end = min(len(lines), place + _CONTEXT + 1)
    if begin >= 0:
        yield list(lines[begin:end])


def _json(file: storer_pb2.FileDiff) -> dict[str, object]:
    return {
        "change": storer_pb2.FileChange.Name(file.change).removeprefix("FILE_CHANGE_").lower(),
        "old_name": file.old_name or None,
        "new_name": file.new_name or None,
        "binary": file.binary,
        "too_large": file.too_large,
        "added": file.added_count,
        "deleted": file.deleted_count,
        "lines": [
            {
                "change": storer_pb2.LineChange.Name(each.change)
                .removeprefix("LINE_CHANGE_")
                .lower(),
                "old": each.old_number or None,
                "new": each.new_number or None,
                "text": contents.to_json(each.text),
            }
            for each in file.lines
        ],
    }
