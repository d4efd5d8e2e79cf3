"""`cyber-dojo rm`: delete katas."""

import sys

import click

from cli import exits
from cli.each_kata import each_kata
from cli.parameters import KataId
from cli.storer_command import Session, storer_command
from cli.terminal.complaint import Failed, complain
from cyberdojo.storer.v1 import storer_pb2


@storer_command
@click.argument("ids", type=KataId(), nargs=-1, required=True, metavar="ID...")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
def command(session: Session, ids: tuple[str, ...], *, yes: bool) -> int:
    """Delete katas for ever, having asked."""
    if not yes:
        if not sys.stdin.isatty():
            raise Failed("nobody can be asked here: say --yes to delete", exits.USAGE)
        if not _agreed(f"Delete {', '.join(ids)} for ever?"):
            complain("nothing was deleted")
            return exits.REFUSED

    def one(kata_id: str) -> tuple[str, dict[str, object]]:
        session.client.stub.DeleteKata(storer_pb2.DeleteKataRequest(kata_id=kata_id))
        return "deleted", {"deleted": True}

    return each_kata(session, ids, one)


def _agreed(question: str) -> bool:
    try:
        return click.confirm(question, prompt_suffix=" ", err=True)
    except click.Abort:
        click.echo(err=True)  # the cursor is behind the question still
        raise
