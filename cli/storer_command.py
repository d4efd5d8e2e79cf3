"""What the commands for a storer share: options, the connection, and exit codes."""

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
from cli.terminal.complaint import CommandFailed, complain
from cli.terminal.progress import Progress
from cli.terminal.screen import Screen
from dojo.service.settings import BadSettings, CallerSettings, load

ADDRESS = "127.0.0.1:4577"
ADDRESS_VARIABLE = "CYBER_DOJO_STORER"


@dataclass(frozen=True)
class Session:
    """The storer that a command calls, and the screen that it writes to."""

    client: Client
    screen: Screen
    forces_progress: bool

    def progress(self) -> Progress:
        """Return the command's progress line."""
        return Progress(forced=self.forces_progress)


def storer_command(run: Callable[..., int]) -> click.Command:
    """Make a command of a function.

    The function takes a Session and the parameters that click's decorators below this one
    declare, and returns the exit code. Its docstring is the command's help.
    """

    def perform(address: str, *, json: bool, progress: bool, **arguments: Any) -> None:
        try:
            code = _perform(
                run, address, as_json=json, forces_progress=progress, arguments=arguments
            )
        except (KeyboardInterrupt, click.Abort):
            code = exits.INTERRUPTED
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
            is_eager=True,  # completion needs the address before the arguments
            show_default=True,
            show_envvar=True,
            help="The storer's address.",
        ),
        click.Option(["--json"], is_flag=True, help="Write JSON, one object on a line."),
        click.Option(
            ["--progress"], is_flag=True, help="Show progress even if this is no terminal."
        ),
    ]


def _perform(
    run: Callable[..., int],
    address: str,
    *,
    as_json: bool,
    forces_progress: bool,
    arguments: dict[str, Any],
) -> int:
    # A reader that closes the pipe, such as `head`, ends this process quietly, as with any command.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # so that incomplete files are removed
    try:
        client = connect(address, load(CallerSettings, os.environ))
    except BadSettings as error:
        raise CommandFailed(str(error), exits.USAGE) from error
    session = Session(client, Screen(as_json=as_json), forces_progress)
    try:
        code = run(session, **arguments)
        sys.stdout.flush()
    except grpc.RpcError as error:
        complain(exits.message_of(error, address))
        return exits.code_of(error)
    except OSError as error:  # the command itself reports errors of all other files
        complain(f"standard output: {error.strerror or error}")
        return outputs.code_of(error)
    else:
        return code
    finally:
        session.client.channel.close()
        _flush_or_drop_output()


def _flush_or_drop_output() -> None:
    """Flush standard output, or drop its buffer: flushing it at the exit would fail once more."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
