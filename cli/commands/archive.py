"""`cyber-dojo archive`: put katas away into the archive."""

import click

from cli.each_kata import each_kata
from cli.parameters import KataId
from cli.storer_command import Session, storer_command
from cyberdojo.storer.v1 import storer_pb2


@storer_command
@click.argument("ids", type=KataId(), nargs=-1, required=True, metavar="ID...")
def command(session: Session, ids: tuple[str, ...]) -> int:
    """Put katas away into the archive before their time."""

    def one(kata_id: str) -> tuple[str, dict[str, object]]:
        session.client.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=kata_id))
        return "archived", {"archived": True}

    return each_kata(session, ids, one)
