"""What the commands for a storer share: their options, the connection, and how they end."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
import grpc

from cli import exits, outputs
from cli.client import Client, connect
from cli.parameters import Address
from cli.terminal.complaint import complain
from cli.terminal.progress import Progress
from cli.terminal.screen import Screen

ADDRESS = "127.0.0.1:4577"
ADDRESS_VARIABLE = "CYBER_DOJO_STORER"


@dataclass(frozen=True)
class Session:
    """What a command has: the storer, and where to write."""

    client: Client
    screen: Screen
    forces_progress: bool

    def progress(self) -> Progress:
        """Return what tells the command's progress."""
        return Progress(forced=self.forces_progress)


def storer_command(run: Callable[..., int]) -> click.Command:
    """Make a command of a function.

    The function takes a Session and what click's decorators below this one declare, and returns
    the exit code. Its docstring is the command's help.
    """

    def perform(address: str, *, json: bool, progress: bool, **told: Any) -> None:
        code = _perform(run, address, as_json=json, forces_progress=progress, told=told)
        click.get_current_context().exit(code)

    own = getattr(run, "__click_params__", [])
    params = [*reversed(own), *_shared_options()]
    return click.Command(None, callback=perform, params=params, help=run.__doc__)


def _shared_options() -> list[click.Parameter]:
    return [
        click.Option(
            ["--address"],
            type=Address(),
            metavar="HOST:PORT",
            default=ADDRESS,
            envvar=ADDRESS_VARIABLE,
            is_eager=True,  # completion asks this storer
            show_default=True,
            show_envvar=True,
            help="Where the storer is.",
        ),
        click.Option(["--json"], is_flag=True, help="Write JSON, a line for each thing."),
        click.Option(
            ["--progress"], is_flag=True, help="Tell the progress of long work in pipes too."
        ),
    ]


def _perform(
    run: Callable[..., int],
    address: str,
    *,
    as_json: bool,
    forces_progress: bool,
    told: dict[str, Any],
) -> int:
    # A reader who has seen enough ends us quietly, as it ends every other command.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing half done is left
    session = Session(connect(address), Screen(as_json=as_json), forces_progress)
    try:
        code = run(session, **told)
        sys.stdout.flush()
    except (KeyboardInterrupt, click.Abort):
        return exits.INTERRUPTED
    except grpc.RpcError as error:
        complain(exits.message_of(error, address))
        return exits.code_of(error)
    except OSError as error:  # what else is read or written is told of where that is done
        complain(f"standard output: {error.strerror or error}")
        return outputs.code_of(error)
    else:
        return code
    finally:
        session.client.channel.close()
        _give_up_output()


def _give_up_output() -> None:
    """Write what is left; drop what can't be written, or it would fail once more at the exit."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
