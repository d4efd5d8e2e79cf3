"""`cyber-dojo token`: make, list and revoke the tokens of callers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from cli import exits, outputs
from cli.terminal.complaint import CommandFailed
from cli.terminal.screen import Screen
from cli.terminal.tables import Column, Table
from dojo.access import tokens
from dojo.access.roles import Role
from dojo.access.tokens import BadCallers, Callers, Entry

_callers_option = click.option(
    "--callers",
    type=click.Path(path_type=Path),
    envvar="CYBER_DOJO_CALLERS",
    show_envvar=True,
    required=True,
    metavar="FILE",
    help="The file of callers, which the services read.",
)


class _Name(click.ParamType[str]):
    """The name of a caller."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name."""
        try:
            return tokens.check_name(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Expiry(click.ParamType[datetime]):
    """A date, or a time."""

    name = "date"

    def convert(
        self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Return the time."""
        if isinstance(value, datetime):  # click converts a default value twice
            return value
        try:
            return tokens.parse_expiry(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.group()
def command() -> None:
    """Make, list and revoke the tokens of callers.

    They are in a file with a line for each, which services read again when it changes. The file has
    no token, only the hash of each.
    """


@command.command()
@click.argument("name", type=_Name())
@click.option(
    "--role",
    type=click.Choice([each.value for each in Role]),
    required=True,
    help="web: what a web tier needs; reader: reading and watching; operator: everything.",
)
@click.option("--days", type=click.IntRange(1, 36500), metavar="DAYS", help="How long it is valid.")
@click.option("--expires", type=_Expiry(), metavar="DATE", help="Until when it is valid.")
@click.option(
    "--certificate",
    is_flag=True,
    help="No token: the caller has a client certificate with this name.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where to write the token, readable by you alone; by default it is printed.",
)
@_callers_option
def make(
    name: str,
    *,
    role: str,
    days: int | None,
    expires: datetime | None,
    certificate: bool,
    output: Path | None,
    callers: Path,
) -> None:
    """Make a token for the caller NAME, and show it this once.

    A caller may have several, so that an old one can be replaced without a pause.
    """
    if days is not None and expires is not None:
        raise click.UsageError("--days and --expires exclude each other")
    if days is not None:
        expires = datetime.now(UTC) + timedelta(days=days)
    token = tokens.new_token()
    digest = "" if certificate else tokens.digest_of(token)
    entry = Entry(name, Role(role), digest, expires)
    if output is not None and not certificate:  # first, so that no token is lost
        outputs.replace_file(output, f"{token}\n".encode)
    _change(callers, lambda text: f"{text}{'' if _is_ended(text) else chr(10)}{entry.line()}\n")
    if output is None and not certificate:
        Screen().say(token)


@command.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Write JSON, one object on a line.")
@_callers_option
def list_(*, as_json: bool, callers: Path) -> None:
    """List who may call, with which role, and until when."""
    screen = Screen(as_json=as_json)
    table = Table(Column("NAME"), Column("ROLE"), Column("ID"), Column("EXPIRES"))
    for entry in _read(callers).entries:
        if as_json:
            screen.record(_json(entry))
        else:
            expires = f"{entry.expires:%Y-%m-%d %H:%M}" if entry.expires else "never"
            shown = f"{expires}, expired" if entry.is_expired() else expires
            table.add(entry.name, entry.role.value, entry.id, shown)
    if not as_json:
        table.show(screen)


@command.command()
@click.argument("name_or_id", metavar="NAME|ID")
@_callers_option
def revoke(name_or_id: str, *, callers: Path) -> None:
    """Revoke all tokens of a NAME, or the token with this ID; services notice it at once."""
    if not callers.exists():
        raise CommandFailed(f"{callers}: there is no such file", exits.NOT_FOUND)

    def removed(text: str) -> str:
        kept, count = tokens.without(text, name_or_id)
        if not count:
            raise CommandFailed(f"{callers}: has no {name_or_id}", exits.NOT_FOUND)
        return kept

    _change(callers, removed)


def _json(entry: Entry) -> dict[str, Any]:
    expires = entry.expires.isoformat() if entry.expires else None
    return {
        "name": entry.name,
        "role": entry.role.value,
        "id": entry.id,
        "expires": expires,
        "expired": entry.is_expired(),
    }


def _read(path: Path) -> Callers:
    with outputs.translating_os_errors(str(path)):
        try:
            return tokens.read(path)
        except BadCallers as error:
            raise CommandFailed(f"{path}: {error}", exits.DAMAGED) from error


def _change(path: Path, change: Callable[[str], str]) -> None:
    """Replace the file of callers, which no other command changes meanwhile."""

    def content() -> bytes:
        try:
            text = tokens.read_text(path) if path.exists() else ""
            changed = change(text)
            tokens.parse(changed)
        except BadCallers as error:
            raise CommandFailed(f"{path}: {error}", exits.DAMAGED) from error
        return changed.encode()

    outputs.replace_file(path, content)


def _is_ended(text: str) -> bool:
    return not text or text.endswith("\n")
