"""`cyber-dojo certificates`: make a CA, and certificates of it."""

from __future__ import annotations

from pathlib import Path

import click

from cli import exits, outputs
from cli.terminal.complaint import CommandFailed
from cli.terminal.screen import Screen
from dojo.access import tokens
from dojo.access.certificates import Pair, make_ca, make_client, make_server

CA_DAYS = 3650
_CA, _SERVER = "ca", "server"


_HELP = """Make the files of TLS in FOLDER.

\b
ca.pem, ca.key           the CA; one that is there is used again
server.pem, server.key   for both services
NAME.pem, NAME.key       for each caller that --client names

Those that are there are replaced, and running services use the new ones at once. Keep ca.key
away from the machine that serves: who has it can pretend to be anybody.
"""


@click.group()
def command() -> None:
    """Make a CA, and certificates of it, to try TLS out."""


@command.command(help=_HELP)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="HOST",
    help="A name or an address by which the services are called; by default localhost, 127.0.0.1 "
    "and ::1. May be repeated.",
)
@click.option(
    "--client",
    "clients",
    multiple=True,
    metavar="NAME",
    help="Also the client certificate of a caller. May be repeated.",
)
@click.option(
    "--days",
    type=click.IntRange(1, 3650),
    default=365,
    show_default=True,
    help="How long certificates are valid. The CA is for ten years.",
)
def make(folder: Path, *, hosts: tuple[str, ...], clients: tuple[str, ...], days: int) -> None:
    """Make the files."""
    for name in clients:
        if name in (_CA, _SERVER):
            raise click.UsageError(f"--client {name}: a file has this name already")
        try:
            tokens.check_name(name)
        except ValueError as error:
            raise click.UsageError(f"--client {error}") from error
    screen = Screen()
    with outputs.translating_os_errors(str(folder)):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ca = _existing(folder, _CA) or _write(screen, folder, _CA, make_ca("cyber-dojo CA", CA_DAYS))
    try:
        named = list(hosts) or ["localhost", "127.0.0.1", "::1"]
        _write(screen, folder, _SERVER, make_server(ca, named, days))
        for name in clients:
            _write(screen, folder, name, make_client(ca, name, days))
    except ValueError as error:
        raise CommandFailed(str(error), exits.USAGE) from error


def _existing(folder: Path, name: str) -> Pair | None:
    """Return the files of this name; None if there are none. Raises CommandFailed for one alone.

    A new CA in the place of one whose key is kept elsewhere would shut out all callers.
    """
    certificate, key = _files(folder, name)
    if not (certificate.exists() or key.exists()):
        return None
    with outputs.translating_os_errors(str(certificate)):
        found = certificate.read_bytes()
    with outputs.translating_os_errors(str(key)):
        return Pair(found, key.read_bytes())


def _write(screen: Screen, folder: Path, name: str, pair: Pair) -> Pair:
    certificate, key = _files(folder, name)
    outputs.replace_file(key, lambda: pair.key)
    outputs.replace_file(certificate, lambda: pair.certificate, mode=0o644)
    for each in (key, certificate):
        screen.say(str(each))
    return pair


def _files(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}.pem", folder / f"{name}.key"
