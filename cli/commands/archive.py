"""`cyber-dojo archive`: move katas to the archive."""

import click

from cli.each_kata import for_each_kata
from cli.parameters import KataId
from cli.storer_command import Session, storer_command
from cyberdojo.storer.v1 import storer_pb2


@storer_command
@click.argument("ids", type=KataId(), nargs=-1, required=True, metavar="ID...")
def command(session: Session, ids: tuple[str, ...]) -> int:
    """Archive katas now, even if they have not been idle for long."""

    def act(kata_id: str) -> tuple[str, dict[str, object]]:
        session.client.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=kata_id))
        return "archived", {"archived": True}

    return for_each_kata(session, ids, act)
