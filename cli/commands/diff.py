"""`storer diff`: what changed between two lights."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

from cli import exits
from cli.client import Client
from cli.parameters import NEWEST, avatar_name, kata_id, light_number
from cli.terminal import contents
from cli.terminal.screen import Screen, fitted, line
from cli.terminal.screen import clean as cleaned
from cyberdojo.storer.v1 import storer_pb2

_CONTEXT = 3
_MARKS = {
    storer_pb2.LINE_CHANGE_SAME: (" ", ""),
    storer_pb2.LINE_CHANGE_ADDED: ("+", "green"),
    storer_pb2.LINE_CHANGE_DELETED: ("-", "red"),
}
_NARROWEST = 100  # of a side-by-side difference where no terminal says how wide it is


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("kata_id", type=kata_id, metavar="ID")
    parser.add_argument("avatar", type=avatar_name, metavar="AVATAR")
    parser.add_argument(
        "was", type=light_number, nargs="?", metavar="WAS", help="by default the light before NOW"
    )
    parser.add_argument(
        "now", type=light_number, nargs="?", metavar="NOW", default=NEWEST, help="newest by default"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("-y", "--side-by-side", action="store_true", help="show both, in two columns")
    how.add_argument("--patch", action="store_true", help="write a patch that git apply takes")
    parser.add_argument(
        "--exit-code", action="store_true", help="exit with 1 if there is a difference"
    )


def run(client: Client, told: argparse.Namespace, screen: Screen) -> int:
    """Show what changed."""
    was, now = _numbers(client, told)
    if told.patch:
        return _patch(client, told, screen, was, now)
    request = storer_pb2.DiffLightsRequest(
        kata_id=told.kata_id, avatar=told.avatar, was_number=was, now_number=now
    )
    changed = [
        file
        for file in client.stub.DiffLights(request).files
        if file.change != storer_pb2.FILE_CHANGE_UNCHANGED
    ]
    for file in changed:
        if screen.as_json:
            screen.record(_json(file))
            continue
        screen.say(_title(file), "bold")
        if file.binary:
            screen.say("(not text)", "dim")
        elif told.side_by_side:
            _say_side_by_side(screen, file)
        else:
            _say_unified(screen, file)
    if not changed and not screen.as_json:
        screen.say(f"nothing changed between light {was} and light {now}", "dim")
    return exits.FOUND if changed and told.exit_code else exits.GOOD


def _numbers(client: Client, told: argparse.Namespace) -> tuple[int, int]:
    """Return the numbers of the two lights; the one before the newest has to be asked for."""
    now = told.now
    if NEWEST in {now, told.was}:
        request = storer_pb2.GetFilesRequest(
            kata_id=told.kata_id, avatar=told.avatar, light_number=NEWEST
        )
        newest = client.stub.GetFiles(request).light.number
        now = newest if now == NEWEST else now
        if told.was == NEWEST:
            return newest, now
    return (max(0, now - 1) if told.was is None else told.was), now


def _patch(client: Client, told: argparse.Namespace, screen: Screen, was: int, now: int) -> int:
    request = storer_pb2.DownloadPatchRequest(
        kata_id=told.kata_id, avatar=told.avatar, was_number=was, now_number=now
    )
    count = 0
    left = b""
    for part in client.stub.DownloadPatch(request):
        count += len(part.data)
        if not screen.is_terminal:
            sys.stdout.buffer.write(part.data)
            continue
        *lines, left = (left + part.data).split(b"\n")
        for each in lines:
            screen.say(cleaned(each))
    sys.stdout.flush()
    return exits.FOUND if count and told.exit_code else exits.GOOD


def _title(file: storer_pb2.FileDiff) -> str:
    change = storer_pb2.FileChange.Name(file.change).removeprefix("FILE_CHANGE_").lower()
    name = cleaned(file.new_name or file.old_name)
    if file.change == storer_pb2.FILE_CHANGE_RENAMED:
        name = f"{cleaned(file.old_name)} → {cleaned(file.new_name)}"
    return f"── {name} ── {change}, +{file.added_count} -{file.deleted_count}"


def _say_unified(screen: Screen, file: storer_pb2.FileDiff) -> None:
    for hunk in _hunks(file.lines):
        old = next((each.old_number for each in hunk if each.old_number), 0)
        new = next((each.new_number for each in hunk if each.new_number), 0)
        screen.say(f"@@ -{old} +{new} @@", "dim")
        for each in hunk:
            mark, colour = _MARKS[each.change]
            screen.say(mark + line(each.text), colour)
            if each.no_newline:
                screen.say("\\ no line feed at the end", "dim")


def _say_side_by_side(screen: Screen, file: storer_pb2.FileDiff) -> None:
    width = screen.width if screen.is_terminal else _NARROWEST
    half = (width - 3) // 2
    for hunk in _hunks(file.lines):
        for left, right in _pairs(hunk):
            same = left is not None and right is not None and left is right
            shown = [
                screen.painted(fitted(_numbered(each, old=old), half), "" if same else colour)
                for each, old, colour in ((left, True, "red"), (right, False, "green"))
            ]
            screen.say(f"{shown[0]} {' ' if same else '|'} {shown[1]}")
        screen.say("·" * 3, "dim")


def _numbered(each: storer_pb2.DiffLine | None, *, old: bool) -> str:
    if each is None:
        return ""
    return f"{each.old_number if old else each.new_number:>4} {line(each.text)}"


def _pairs(
    hunk: Sequence[storer_pb2.DiffLine],
) -> Iterator[tuple[storer_pb2.DiffLine | None, storer_pb2.DiffLine | None]]:
    """Yield what is beside each other: what was deleted beside what was added there."""
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
    """Yield what changed, with a few lines around it."""
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
