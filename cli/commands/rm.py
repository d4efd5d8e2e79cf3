"""`cyber-dojo rm`: delete katas."""

import sys

import click

from cli import exits
from cli.each_kata import for_each_kata
from cli.parameters import KataId
from cli.storer_command import Session, storer_command
from cli.terminal.complaint import CommandFailed, complain
from cyberdojo.storer.v1 import storer_pb2


@storer_command
@click.argument("ids", type=KataId(), nargs=-1, required=True, metavar="ID...")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
def command(session: Session, ids: tuple[str, ...], *, yes: bool) -> int:
    """Delete katas for ever, after asking."""
    if not yes:
        if not sys.stdin.isatty():
            raise CommandFailed("there is no terminal to ask on: delete with --yes", exits.USAGE)
        if not _confirmed(f"Delete {', '.join(ids)} for ever?"):
            complain("nothing was deleted")
            return exits.REFUSED

    def act(kata_id: str) -> tuple[str, dict[str, object]]:
        done = session.client.stub.DeleteKata(storer_pb2.DeleteKataRequest(kata_id=kata_id))
        stays = done.stays_in_katas_directory
        note = "; its files stay in the katas directory, which is read-only" if stays else ""
        return f"deleted{note}", {"deleted": True, "stays_in_katas_directory": stays}

    return for_each_kata(session, ids, act)


def _confirmed(question: str) -> bool:
    try:
        return click.confirm(question, prompt_suffix=" ", err=True)
    except click.Abort:
        click.echo(err=True)  # the cursor is still behind the question
        raise
