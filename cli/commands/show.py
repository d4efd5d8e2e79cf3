"""`storer show`: a kata, an avatar's lights, or one light."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from google.protobuf.json_format import MessageToDict

from cli import exits
from cli.client import Client
from cli.parameters import avatar_name, kata_id, light_number
from cli.terminal import contents, lights
from cli.terminal.screen import Screen, clean
from cyberdojo.storer.v1 import storer_pb2

_HEADINGS = ("LIGHT", "TIME", "", "SECONDS", "STATUS", "CHANGES")
_WIDTHS = (-5, 19, 11, -7, -6, 7)
_NAME_COLUMNS = 11


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("kata_id", type=kata_id, metavar="ID")
    parser.add_argument("avatar", type=avatar_name, nargs="?", metavar="AVATAR")
    parser.add_argument(
        "number", type=light_number, nargs="?", metavar="NUMBER", help="a light, or `newest`"
    )
    parser.add_argument(
        "--all", action="store_true", help="show all lights of each avatar, on several lines"
    )


def run(client: Client, told: argparse.Namespace, screen: Screen) -> int:
    """Show what was asked for."""
    if told.avatar is None:
        _show_kata(client, told, screen)
    elif told.number is None:
        _show_avatar(client, told, screen)
    else:
        _show_light(client, told, screen)
    return exits.GOOD


def _show_kata(client: Client, told: argparse.Namespace, screen: Screen) -> None:
    request = storer_pb2.GetKataRequest(kata_id=told.kata_id)
    kata = client.stub.GetKata(request)
    everybody = _lights(client, told.kata_id, "")
    if screen.as_json:
        avatars = {name: [lights.to_json(each) for each in found] for name, found in everybody}
        screen.record(
            {
                "id": kata.kata_id,
                "created": lights.time_json(kata.created),
                "manifest": _manifest_json(kata.manifest),
                "avatars": avatars,
            }
        )
        return
    manifest = kata.manifest
    screen.say(kata.kata_id, "bold")
    for name, value in (
        ("language", manifest.display_name),
        ("exercise", manifest.exercise),
        ("image", manifest.image_name),
        ("created", lights.time_of(kata.created)),
        ("files", ", ".join(sorted(manifest.visible_files))),
    ):
        if value:
            screen.say(f"{name:<{_NAME_COLUMNS}}{clean(value)}")
    screen.say(f"{'avatars':<{_NAME_COLUMNS}}{len(kata.avatars)}")
    for name, found in everybody:
        _say_row(screen, name, found, whole=told.all)


def _say_row(screen: Screen, name: str, found: list[storer_pb2.Light], *, whole: bool) -> None:
    """Write an avatar's lights: those that fit in a line, the newest, or all of them."""
    tests = [each for each in found if each.number]
    begin = f"{name:<{_NAME_COLUMNS}} {len(tests):>5}  "
    end = f"  {lights.time_of(found[-1].time)}" if found else ""
    room = max(10, screen.width - len(begin) - len(end) - 1)
    if whole:
        rows = [tests[at : at + room] for at in range(0, len(tests), room)] or [[]]
        left_out = ""
    else:
        left_out = "…" if len(tests) > room else ""
        rows = [tests[-(room - 1) :] if left_out else tests]
    for place, row in enumerate(rows):
        dots = "".join(lights.shown(screen, each) for each in row)
        blanks = " " * (room - len(row) - len(left_out)) if screen.is_terminal else ""
        if place:
            screen.say(" " * len(begin) + dots)
        else:
            screen.say(begin + left_out + dots + blanks + end)


def _show_avatar(client: Client, told: argparse.Namespace, screen: Screen) -> None:
    found = next((each for _, each in _lights(client, told.kata_id, told.avatar)), [])
    if not screen.as_json:
        screen.say(f"{told.kata_id} {told.avatar}", "bold")
        screen.row(_HEADINGS, _WIDTHS, "bold")
    before: int | None = None
    for each in found:
        changes = _changes(client, told, before, each.number)
        before = each.number
        if screen.as_json:
            screen.record({**lights.to_json(each), "changed": [name for name, _, _ in changes]})
            continue
        colour = lights.colour_name(each)
        seconds = lights.seconds_of(each)
        shown = colour or "start"
        row = (
            f"{each.number:>5}  {lights.time_of(each.time)}  "
            f"{lights.shown(screen, each) if colour else ' '} "
            f"{screen.painted(f'{shown:<9}', colour)}  "
            f"{'' if seconds is None else f'{seconds:.2f}':>7}  "
            f"{each.status if each.HasField('status') else '':>6}  "
        )
        screen.say(row + _changes_text(screen, changes))
        if each.reason:
            screen.say(f"       {clean(each.reason)}", "dim")


def _changes(
    client: Client, told: argparse.Namespace, before: int | None, number: int
) -> list[tuple[str, int, int]]:
    """Return which files changed since the light before: name, lines added, lines deleted."""
    if before is None:
        return []
    request = storer_pb2.DiffLightsRequest(
        kata_id=told.kata_id, avatar=told.avatar, was_number=before, now_number=number
    )
    return [
        (file.new_name or file.old_name, file.added_count, file.deleted_count)
        for file in client.stub.DiffLights(request).files
        if file.change != storer_pb2.FILE_CHANGE_UNCHANGED
    ]


def _changes_text(screen: Screen, changes: list[tuple[str, int, int]]) -> str:
    shown = []
    for name, added, deleted in changes:
        plus = screen.painted(f" +{added}", "green") if added else ""
        minus = screen.painted(f" -{deleted}", "red") if deleted else ""
        shown.append(clean(name) + plus + minus)
    return ", ".join(shown)


def _show_light(client: Client, told: argparse.Namespace, screen: Screen) -> None:
    request = storer_pb2.GetFilesRequest(
        kata_id=told.kata_id, avatar=told.avatar, light_number=told.number
    )
    found = client.stub.GetFiles(request)
    if screen.as_json:
        screen.record(
            {
                **lights.to_json(found.light),
                "files": {
                    name: contents.to_json(content) for name, content in sorted(found.files.items())
                },
                "stdout": contents.to_json(found.stdout),
                "stderr": contents.to_json(found.stderr),
            }
        )
        return
    light = found.light
    colour = lights.colour_name(light)
    screen.say(
        f"{told.kata_id} {told.avatar} {light.number}  {lights.time_of(light.time)}  "
        f"{lights.shown(screen, light)} {screen.painted(colour or 'start', colour)}"
    )
    if light.reason:
        screen.say(clean(light.reason), "dim")
    for name, content in sorted(found.files.items()):
        screen.say()
        contents.say(screen, clean(name), content)
    for name, content in (("standard output", found.stdout), ("standard error", found.stderr)):
        if content:
            screen.say()
            contents.say(screen, name, content)


def _lights(client: Client, kata: str, avatar: str) -> Iterator[tuple[str, list[storer_pb2.Light]]]:
    """Yield each avatar with all its lights, page by page."""
    request = storer_pb2.ListLightsRequest(kata_id=kata, avatar=avatar)
    name, found = "", list[storer_pb2.Light]()
    while True:
        response = client.stub.ListLights(request)
        for each in response.avatars:
            if name and each.avatar != name:
                yield name, found
                found = []
            name = each.avatar
            found += each.lights
        if not response.next_page_token:
            break
        request.page_token = response.next_page_token
    if name:
        yield name, found


def _manifest_json(manifest: storer_pb2.Manifest) -> dict[str, object]:
    found: dict[str, object] = MessageToDict(manifest, preserving_proto_field_name=True)
    found["visible_files"] = {
        name: contents.to_json(content) for name, content in sorted(manifest.visible_files.items())
    }
    return found
