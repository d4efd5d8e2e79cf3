"""What the commands for a storer share: options, the connection, and exit codes."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click
import grpc

from cli import exits, outputs
from cli.client import Client, connect
from cli.parameters import Address
from cli.terminal.complaint import CommandFailed, complain
from cli.terminal.progress import Progress
from cli.terminal.screen import Screen
from dojo.service.settings import BadSettings, CallerSettings, load

F = TypeVar("F", bound=Callable[..., int])

_FIELDS = "__json_fields__"

ADDRESS = "127.0.0.1:4577"
ADDRESS_VARIABLE = "CYBER_DOJO_STORER"
RUNNER_ADDRESS = "127.0.0.1:4597"


@dataclass(frozen=True)
class Session:
    """The storer that a command calls, how services are called, and the screen to write to."""

    client: Client
    settings: CallerSettings
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
    known_fields: tuple[str, ...] = getattr(run, _FIELDS, ())

    def perform(address: str, *, json: str | bool | None, progress: bool, **arguments: Any) -> None:
        as_json = json is not None if known_fields else bool(json)
        fields = _fields(json, known_fields) if isinstance(json, str) else []
        screen = Screen(as_json=as_json, fields=fields)
        try:
            code = _perform(run, address, screen, forces_progress=progress, arguments=arguments)
        except (KeyboardInterrupt, click.Abort):
            code = exits.INTERRUPTED
        click.get_current_context().exit(code)

    own = getattr(run, "__click_params__", [])
    params = [*reversed(own), _json_option(known_fields), *_shared_options()]
    return click.Command(None, callback=perform, params=params, help=run.__doc__)


def default_address(address: str, port_variable: str) -> str:
    """Return the address of a service that compose started: with the port of the setting."""
    host, _, port = address.rpartition(":")
    return f"{host}:{os.environ.get(port_variable) or port}"


def _shared_options() -> list[click.Parameter]:
    return [
        click.Option(
            ["--address"],
            type=Address(),
            metavar="HOST:PORT",
            default=lambda: default_address(ADDRESS, "CYBER_DOJO_STORER_PORT"),
            envvar=ADDRESS_VARIABLE,
            is_eager=True,  # completion needs the address before the arguments
            show_default=ADDRESS,
            show_envvar=True,
            help="The storer's address.",
        ),
        click.Option(
            ["--progress"], is_flag=True, help="Show progress even if this is no terminal."
        ),
    ]


def json_fields(*names: str) -> Callable[[F], F]:
    """Say which fields the objects of a command's JSON have: `--json` can then select some."""

    def declare(run: F) -> F:
        setattr(run, _FIELDS, names)
        return run

    return declare


def _json_option(known_fields: Sequence[str]) -> click.Option:
    does = "Write JSON, one object on a line"
    if not known_fields:
        return click.Option(["--json"], is_flag=True, help=f"{does}.")
    return click.Option(
        ["--json"],
        is_flag=False,
        flag_value="",
        metavar="[FIELD,...]",
        help=f"{does}, with these fields of it: {', '.join(known_fields)}. By default with all.",
    )


def _fields(text: str, known: Sequence[str]) -> list[str]:
    fields = [each.strip() for each in text.split(",")] if text else []
    if unknown := [each for each in fields if each not in known]:
        raise click.UsageError(
            f"--json {', '.join(unknown)}: no such field; the fields are {', '.join(known)} "
            "(an argument goes before --json)"
        )
    return fields


def _perform(
    run: Callable[..., int],
    address: str,
    screen: Screen,
    *,
    forces_progress: bool,
    arguments: dict[str, Any],
) -> int:
    # A reader that closes the pipe, such as `head`, ends this process quietly, as with any command.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # so that incomplete files are removed
    try:
        settings = load(CallerSettings, os.environ)
        client = connect(address, settings)
    except BadSettings as error:
        raise CommandFailed(str(error), exits.USAGE) from error
    session = Session(client, settings, screen, forces_progress)
    try:
        code = run(session, **arguments)
        sys.stdout.flush()
    except BadSettings as error:  # for another service than the storer
        complain(str(error))
        return exits.USAGE
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
