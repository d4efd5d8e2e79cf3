"""`cyber-dojo import`: import katas into data-containers."""

import click

from cli.each_kata import for_each_kata
from cli.parameters import KataId
from cli.storer_command import Session, storer_command
from cli.terminal import damaged_avatars
from cli.terminal.quantities import counted
from cyberdojo.storer.v1 import storer_pb2


@storer_command
@click.argument("ids", type=KataId(), nargs=-1, required=True, metavar="ID...")
@click.option(
    "--undelete", is_flag=True, help="Import katas too that were deleted, from the katas directory."
)
def command(session: Session, ids: tuple[str, ...], *, undelete: bool) -> int:
    """Import katas into data-containers, as the first call that uses a kata does by itself."""

    def act(kata_id: str) -> tuple[str, dict[str, object]]:
        request = storer_pb2.ImportKataRequest(kata_id=kata_id, undelete=undelete)
        done = session.client.stub.ImportKata(request)
        what = "was here already" if done.already_imported else "imported"
        damaged = damaged_avatars.to_json(done.damaged)
        said = "".join(f"; {each}" for each in damaged_avatars.lines(done.damaged))
        return f"{what}, {counted(len(done.avatars), 'avatar')}{said}", {
            "already_imported": done.already_imported,
            "avatars": list(done.avatars),
            "damaged": damaged,
        }

    return for_each_kata(session, ids, act)
