"""`cyber-dojo create`: create a kata from files that a teacher brings."""

from __future__ import annotations

from pathlib import Path

import click

from cli import brought_files, exits, outputs
from cli.storer_command import Session, storer_command
from cli.terminal.complaint import CommandFailed, complain
from cyberdojo.startpoints.v1 import startpoints_pb2, startpoints_pb2_grpc
from cyberdojo.storer.v1 import storer_pb2


@storer_command
@click.argument("folder", type=click.Path(path_type=Path), metavar="FOLDER")
@click.option("--dry-run", is_flag=True, help="Create nothing; say what is wrong with the files.")
def command(session: Session, folder: Path, *, dry_run: bool) -> int:
    """Create a kata from the custom start point in FOLDER, which no storer has to serve.

    A manifest.json there names the files. All that is wrong with them is told, and then there is no
    kata. Folders whose names begin with a dot are left out.
    """
    folder = brought_files.start_point_in(folder)
    try:
        files = brought_files.read(folder)
    except OSError as error:
        raise CommandFailed(
            f"{error.filename or folder}: {error.strerror}", outputs.code_of(error)
        ) from None
    asked = startpoints_pb2.CheckStartPointRequest(files=files)
    start_points = startpoints_pb2_grpc.StartPointsServiceStub(session.client.channel)
    found = start_points.CheckStartPoint(asked)
    kata_id = ""
    if not (found.problems or dry_run):
        creating = storer_pb2.CreateKataRequest(manifest=found.manifest)
        kata_id = session.client.stub.CreateKata(creating).kata_id
    _tell(session, folder, found, kata_id)
    return exits.FOUND if found.problems else exits.GOOD


def _tell(
    session: Session, folder: Path, found: startpoints_pb2.CheckStartPointResponse, kata_id: str
) -> None:
    """Write the kata's id, and what is wrong or odd."""
    name = found.manifest.display_name
    if session.screen.as_json:
        session.screen.record(
            {
                "id": kata_id or None,
                "display_name": name,
                "problems": list(found.problems),
                "warnings": list(found.warnings),
            }
        )
        return
    for line in found.warnings:
        complain(f"warning: {folder}/{line}")
    for line in found.problems:
        complain(f"{folder}/{line}")
    if kata_id:
        session.screen.say(f"{kata_id}  created: {name}")
    elif found.problems:
        complain("no kata was created: correct the files")
    else:
        complain(f"{name}: all as it should be; no kata was created: a dry run")
