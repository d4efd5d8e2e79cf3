"""`cyber-dojo import`: import katas into data-containers."""

from __future__ import annotations

import re
from collections import defaultdict

import click
import grpc

from cli import exits
from cli.each_kata import for_each_kata
from cli.kata_list import pages
from cli.parameters import AnyKataId
from cli.storer_command import Session, storer_command
from cli.terminal import damaged_avatars
from cli.terminal.complaint import complain
from cli.terminal.quantities import counted
from cyberdojo.storer.v1 import storer_pb2
from dojo import avatars

_PLACE = re.compile(r":? line \d+ column \d+ \(char \d+\)")  # of an error in JSON

_NAMED = 5  # katas that a line of the summary names


@storer_command
@click.argument("ids", type=AnyKataId(), nargs=-1, metavar="[ID...]")
@click.option(
    "--undelete", is_flag=True, help="Import katas too that were deleted, from the katas directory."
)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Import all katas that are only in the katas directory, or a saver's; in the end say how "
    "many, and by reason how many could not be.",
)
def command(session: Session, ids: tuple[str, ...], *, undelete: bool, everything: bool) -> int:
    """Import katas into data-containers, as the first call that uses a kata does by itself."""
    if bool(ids) == everything:
        raise click.UsageError("name katas, or import --all")
    if everything:
        if undelete:
            raise click.UsageError("--undelete needs an ID: name the katas that are to come back")
        return _import_all(session)

    def act(kata_id: str) -> tuple[str, dict[str, object]]:
        request = storer_pb2.ImportKataRequest(kata_id=kata_id, undelete=undelete)
        return _told(session.client.stub.ImportKata(request), kata_id)

    return for_each_kata(session, ids, act)


def _told(done: storer_pb2.ImportKataResponse, asked: str) -> tuple[str, dict[str, object]]:
    """Return what was done as a text and as JSON."""
    what = "was here already" if done.already_imported else "imported"
    what += f" as {done.kata_id}" if done.kata_id not in {"", asked} else ""
    said = "".join(f"; {each}" for each in damaged_avatars.lines(done.damaged))
    return f"{what}, {counted(len(done.avatars), 'avatar')}{said}", {
        "kata": done.kata_id or asked,
        "already_imported": done.already_imported,
        "avatars": list(done.avatars),
        "damaged": damaged_avatars.to_json(done.damaged),
    }


def _import_all(session: Session) -> int:
    """Import all katas that are only in the katas directory, and summarize by reason."""
    imported = 0
    refused: defaultdict[str, list[str]] = defaultdict(list)  # the katas, by reason
    damaged: list[str] = []
    worst = exits.GOOD
    with session.progress() as progress:
        wanted = _only_in_directory(session)
        for at, kata_id in enumerate(wanted):
            failed = sum(map(len, refused.values()))
            progress.show(f"{kata_id}  {at} of {len(wanted)}: {imported} imported, {failed} not")
            request = storer_pb2.ImportKataRequest(kata_id=kata_id)
            try:
                done = session.client.stub.ImportKata(request)
            except grpc.RpcError as error:
                if exits.code_of(error) in {exits.UNAVAILABLE, exits.FULL}:
                    raise
                worst = max(worst, exits.code_of(error))
                said = exits.message_of(error, session.client.address)
                refused[_reason(said, kata_id)].append(kata_id)
                if session.screen.as_json:
                    session.screen.record({"id": kata_id, "error": said})
                continue
            imported += not done.already_imported
            if done.damaged:
                damaged.append(kata_id)
            if session.screen.as_json:
                session.screen.record({"id": kata_id, **_told(done, kata_id)[1]})
    if not session.screen.as_json:
        session.screen.say(f"{counted(imported, 'kata')} imported")
        if damaged:
            session.screen.say(
                f"{_named(damaged)}: imported with damaged avatars; cyber-dojo show names them"
            )
    for reason, katas in sorted(refused.items(), key=lambda each: -len(each[1])):
        complain(f"{counted(len(katas), 'kata')} not imported: {reason}: {_named(katas)}")
    return worst


def _only_in_directory(session: Session) -> list[str]:
    """Return the ids of the katas that are only in the katas directory."""
    found = []
    for page in pages(session.client, "", with_details=False):
        found += [
            each.kata_id for each in page if each.source == storer_pb2.KATA_SOURCE_KATAS_DIRECTORY
        ]
    return found


def _reason(said: str, kata_id: str) -> str:
    """Return what a refusal says, without the kata, the avatar and the place in a file.

    So many katas have the same reason.
    """
    said = re.sub(rf"^kata {kata_id}( is damaged)?: ", "", said).replace(kata_id, "...")
    said = _PLACE.sub("", said)
    folder, slash, rest = said.partition("/")
    return f"*/{rest}" if slash and avatars.is_name(folder) else said


def _named(katas: list[str]) -> str:
    more = f" and {len(katas) - _NAMED} more" if len(katas) > _NAMED else ""
    return ", ".join(katas[:_NAMED]) + more
