"""`cyber-dojo show`: show a kata, an avatar's lights, or one light."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import click
from google.protobuf.json_format import MessageToDict

from cli import exits
from cli.client import Client
from cli.parameters import AvatarName, KataId, LightPlace, Place
from cli.storer_command import Session, storer_command
from cli.terminal import contents, damaged_avatars, lights
from cli.terminal.screen import Piece, Screen
from cli.terminal.tables import Column, Table
from cyber_dojo_client import pages
from cyberdojo.results.v1 import results_pb2
from cyberdojo.storer.v1 import storer_pb2

_COLUMNS = (
    Column("LIGHT", is_right=True),
    Column("TIME"),
    Column(""),
    Column("SECONDS", is_right=True),
    Column("STATUS", is_right=True),
    Column("CHANGES", overflow="fold"),
)
_NAME_COLUMNS = 11


@storer_command
@click.argument("kata_id", type=KataId(), metavar="ID")
@click.argument("avatar", type=AvatarName(), required=False, metavar="[AVATAR]")
@click.argument("number", type=LightPlace(), required=False, metavar="[NUMBER]")
@click.option("--all", "shows_all", is_flag=True, help="Show all lights of each avatar.")
@click.option("--edits", "with_edits", is_flag=True, help="Show an avatar's edits, too.")
def command(
    session: Session,
    kata_id: str,
    avatar: str | None,
    number: Place | None,
    *,
    shows_all: bool,
    with_edits: bool,
) -> int:
    """Show a kata, an avatar's lights, or a light with its files and output.

    NUMBER is a light's number, or `newest`; 3.1 is the first edit after light 3. A kata is shown
    with as many of the newest lights as fit.
    """
    client, screen = session.client, session.screen
    if avatar is None:
        _show_kata(client, screen, kata_id, shows_all=shows_all)
    elif number is None:
        _show_avatar(client, screen, kata_id, avatar, with_edits=with_edits)
    else:
        _show_light(client, screen, kata_id, avatar, number)
    return exits.GOOD


def _show_kata(client: Client, screen: Screen, kata_id: str, *, shows_all: bool) -> None:
    kata = client.stub.GetKata(storer_pb2.GetKataRequest(kata_id=kata_id))
    lights_by_avatar = _lights(client, kata_id)
    if screen.as_json:
        avatars = {
            name: [lights.to_json(each) for each in found] for name, found in lights_by_avatar
        }
        screen.record(
            {
                "id": kata.kata_id,
                "created": lights.time_json(kata.created),
                "manifest": _manifest_json(kata.manifest),
                "options": MessageToDict(kata.options, preserving_proto_field_name=True),
                "avatars": avatars,
                "damaged": damaged_avatars.to_json(kata.damaged),
            }
        )
        return
    manifest = kata.manifest
    screen.say(kata.kata_id, style="bold")
    for name, value in (
        ("language", manifest.display_name),
        ("exercise", manifest.exercise),
        ("image", manifest.image_name),
        ("created", lights.time_of(kata.created)),
        ("files", ", ".join(sorted(manifest.files))),
    ):
        if value:
            screen.say(f"{name:<{_NAME_COLUMNS}}{value}")
    if options := _options(kata.options.kata):
        screen.say(f"{'options':<{_NAME_COLUMNS}}{options}")
    for name, own in sorted(kata.options.avatars.items()):
        screen.say(f"{'options':<{_NAME_COLUMNS}}{name}: {_options(own)}")
    screen.say(f"{'avatars':<{_NAME_COLUMNS}}{len(kata.avatars)}")
    for name, found in lights_by_avatar:
        _say_row(screen, name, found, whole=shows_all)
    for line in damaged_avatars.lines(kata.damaged):
        screen.say((line, "red"))


def _options(options: storer_pb2.Options) -> str:
    """Return the options that are set, in words."""
    words = []
    for field, value in options.ListFields():
        word = "on" if value else "off"
        if field.enum_type is not None:
            word = field.enum_type.values_by_number[value].name.removeprefix("THEME_").lower()
        words.append(f"{field.name.replace('_', ' ')} {word}")
    return ", ".join(words)


def _say_row(screen: Screen, name: str, found: list[storer_pb2.Light], *, whole: bool) -> None:
    """Write an avatar's lights: the newest ones that fit in a line, or all if `whole`."""
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
        dots = [lights.symbol(screen, each) for each in row]
        blanks = " " * (room - len(row) - len(left_out)) if screen.is_terminal else ""
        if place:
            screen.say(" " * len(begin), *dots)
        else:
            screen.say(begin, left_out, *dots, blanks, end)


def _show_avatar(
    client: Client, screen: Screen, kata_id: str, avatar: str, *, with_edits: bool
) -> None:
    table = Table(*_COLUMNS)
    before: Place | None = None
    for each in _history(client, kata_id, avatar, with_edits=with_edits):
        place = _place_of(each)
        changes = _changes(client, kata_id, avatar, before, place)
        before = place
        if screen.as_json:
            screen.record({**_json(each), "changed": [name for name, _, _ in changes]})
        elif isinstance(each, storer_pb2.Edit):
            pieces = [*_changes_pieces(changes), (_edit_remarks(each), "dim")]
            table.add(str(place), lights.time_of(each.time), "  edit", "", "", pieces)
        else:
            colour = lights.colour_name(each)
            seconds = lights.seconds_of(each)
            table.add(
                str(place),
                lights.time_of(each.time),
                [lights.symbol(screen, each), " ", (colour, colour)] if colour else "  start",
                "" if seconds is None else f"{seconds:.2f}",
                str(each.status) if each.HasField("status") else "",
                [*_changes_pieces(changes), (_remarks(each), "dim")],
            )
    if not screen.as_json:
        screen.say(f"{kata_id} {avatar}", style="bold")
        table.show(screen)


def _history(
    client: Client, kata_id: str, avatar: str, *, with_edits: bool
) -> list[storer_pb2.Light | storer_pb2.Edit]:
    """Return an avatar's lights, each followed by the edits after it if these are wanted."""
    request = storer_pb2.ListLightsRequest(kata_id=kata_id, avatar=avatar, with_edits=with_edits)
    found: list[storer_pb2.Light | storer_pb2.Edit] = []
    for page in pages(client.stub.ListLights, request):
        for each in page.avatars:
            found += [*each.lights, *each.edits]
    return sorted(found, key=_place_of)


def _place_of(each: storer_pb2.Light | storer_pb2.Edit) -> Place:
    if isinstance(each, storer_pb2.Edit):
        return Place(each.light_number, each.number)
    return Place(each.number)


def _json(each: storer_pb2.Light | storer_pb2.Edit) -> dict[str, object]:
    if isinstance(each, storer_pb2.Edit):
        return lights.edit_to_json(each)
    return lights.to_json(each)


def _changes(
    client: Client, kata_id: str, avatar: str, before: Place | None, now: Place
) -> list[tuple[str, int, int]]:
    """Return the files that changed since `before`: name, lines added, lines deleted."""
    if before is None:
        return []
    request = storer_pb2.DiffLightsRequest(
        kata_id=kata_id,
        avatar=avatar,
        was_number=before.light,
        was_edit_number=before.edit,
        now_number=now.light,
        now_edit_number=now.edit,
        changed_only=True,
        counts_only=True,
    )
    return [
        (file.new_name or file.old_name, file.added_count, file.deleted_count)
        for file in client.stub.DiffLights(request).files
    ]


def _edit_remarks(edit: storer_pb2.Edit) -> str:
    remarks = ["nobody knows what was changed"] if edit.outage else []
    remarks += [f"by {edit.writer}"] if edit.writer else []
    return f"  {', '.join(remarks)}" if remarks else ""


def _remarks(light: storer_pb2.Light) -> str:
    remarks = [*([light.reason] if light.reason else []), *lights.facts(light)]
    return f"  {', '.join(remarks)}" if remarks else ""


def _changes_pieces(changes: list[tuple[str, int, int]]) -> Iterator[Piece]:
    for place, (name, added, deleted) in enumerate(changes):
        yield f", {name}" if place else name
        if added:
            yield f" +{added}", "green"
        if deleted:
            yield f" -{deleted}", "red"


def _show_light(client: Client, screen: Screen, kata_id: str, avatar: str, place: Place) -> None:
    request = storer_pb2.GetFilesRequest(
        kata_id=kata_id, avatar=avatar, light_number=place.light, edit_number=place.edit
    )
    found = client.stub.GetFiles(request)
    edit = found.edit if found.HasField("edit") else None
    if screen.as_json:
        screen.record(
            {
                **lights.to_json(found.light),
                **({} if edit is None else {"edited": lights.edit_to_json(edit)}),
                "files": {
                    name: contents.to_json(content) for name, content in sorted(found.files.items())
                },
                "stdout": contents.to_json(found.stdout.content),
                "stderr": contents.to_json(found.stderr.content),
                "test_results": MessageToDict(found.test_results, preserving_proto_field_name=True)
                or None,
            }
        )
        return
    light = found.light
    colour = lights.colour_name(light)
    if edit is not None:
        title = f"{kata_id} {avatar} {_place_of(edit)}  {lights.time_of(edit.time)}  edit"
        screen.say(title, (_edit_remarks(edit), "dim"))
        _say_files(screen, found.files)
        return
    screen.say(
        f"{kata_id} {avatar} {light.number}  {lights.time_of(light.time)}  ",
        lights.symbol(screen, light),
        " ",
        (colour or "start", colour),
    )
    if remarks := _remarks(light).strip():
        screen.say(remarks, style="dim")
    for test in found.test_results.tests:
        _say_test(screen, test)
    _say_files(screen, found.files)
    for name, output in (("standard output", found.stdout), ("standard error", found.stderr)):
        if output.content:
            screen.say()
            contents.say(screen, name, output.content)


def _say_files(screen: Screen, files: Mapping[str, bytes]) -> None:
    for name, content in sorted(files.items()):
        screen.say()
        contents.say(screen, name, content)


def _say_test(screen: Screen, test: results_pb2.TestResult) -> None:
    status = results_pb2.TestStatus.Name(test.status).removeprefix("TEST_STATUS_").lower()
    style = {"passed": "green", "skipped": "dim"}.get(status, "red")
    first_line = test.message.partition("\n")[0]
    screen.say((f"{status:<8}", style), test.name, (f"  {first_line}" if first_line else "", "dim"))


def _lights(client: Client, kata_id: str) -> Iterator[tuple[str, list[storer_pb2.Light]]]:
    """Yield each avatar with all its lights, which may come on several pages."""
    request = storer_pb2.ListLightsRequest(kata_id=kata_id)
    name, found = "", list[storer_pb2.Light]()
    for page in pages(client.stub.ListLights, request):
        for each in page.avatars:
            if name and each.avatar != name:
                yield name, found
                found = []
            name = each.avatar
            found += each.lights
    if name:
        yield name, found


def _manifest_json(manifest: storer_pb2.Manifest) -> dict[str, object]:
    found: dict[str, object] = MessageToDict(manifest, preserving_proto_field_name=True)
    found["visible_files"] = {
        name: contents.to_json(content) for name, content in sorted(manifest.files.items())
    }
    return found
