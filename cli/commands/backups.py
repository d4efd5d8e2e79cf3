"""`cyber-dojo backups`: the backups that there are, and whether they are whole."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from cli import backup_file, exits, outputs
from cli.backup_file import BackupFile, NoBackup
from cli.commands.backup import plan
from cli.kata_list import Date
from cli.storer_command import Session, storer_command
from cli.terminal.complaint import CommandFailed
from cli.terminal.lights import time_json, time_of
from cli.terminal.quantities import counted
from cli.terminal.screen import Screen
from cli.terminal.tables import Column, Table
from cyberdojo.storer.v1 import storer_pb2

_COLUMNS = (
    Column("FINISHED"),
    Column("KIND"),
    Column("SENT", is_right=True),
    Column("UNCHANGED", is_right=True),
    Column("DELETED", is_right=True),
    Column("FAILED", is_right=True),
    Column("PREFIX"),
    Column("TOKEN"),
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """List backups, and check them without restoring anything."""


@storer_command
def _list(session: Session) -> int:
    """List the backups that the storer remembers, the newest first.

    Each incremental one follows the one whose token it names. Katas that could not be read are
    named below.
    """
    backups = session.client.stub.ListBackups(storer_pb2.ListBackupsRequest()).backups
    if session.screen.as_json:
        for each in backups:
            session.screen.record(_json(each))
        return exits.GOOD
    table = Table(*_COLUMNS)
    for each in backups:
        finished = time_of(each.finished) if each.HasField("finished") else "not finished"
        kind = f"since {each.since_token}" if each.since_token else "all"
        summary = each.summary
        counts = (
            summary.sent_count,
            summary.unchanged_count,
            summary.deleted_count,
            summary.failed_count,
        )
        style = "red" if summary.failed_count else ""
        table.add(finished, kind, *map(str, counts), each.prefix, each.token, style=style)
    if backups:
        table.show(session.screen)
    for each in backups:
        for failed in each.failures:
            session.screen.say(f"{each.token}: without {failed.kata_id}: {failed.reason}")
    return exits.GOOD


@storer_command
@click.argument("files", type=click.Path(), nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--until",
    type=Date(),
    metavar="DATE",
    help="Also ask the storer whether everything from before this date is in them.",
)
def _check(session: Session, files: tuple[str, ...], until: datetime | None) -> int:
    """Check backups without restoring them: that each is whole, and that none is missing.

    Name a full backup, and then those that followed it, in their order. Nothing is changed, and
    without --until no storer is needed. Exits with 1 if a kata is missing, or not as it was.
    """
    screen = session.screen
    chain = _Chain()
    for name in files:
        with outputs.translating_os_errors(name), open(name, "rb") as file:
            try:
                found = backup_file.read(file)
            except NoBackup as error:
                raise CommandFailed(f"{name}: {error}", exits.DAMAGED) from error
        chain.add(name, found)
        _tell(screen, name, found)
    lacking = chain.lacking()
    for kata_id, reason in sorted(lacking.items()):
        _tell_lacking(screen, kata_id, reason)
    later: dict[str, str] = {}
    if until is not None:
        later = _lacking_until(session, chain.last, until)
        for kata_id, reason in sorted(later.items()):
            if kata_id not in lacking:
                _tell_lacking(screen, kata_id, reason)
    all_lacking = {**later, **lacking}
    covered = len(chain.last.entries) - len(lacking)
    if screen.as_json:
        screen.record(
            {
                "katas": covered,
                "lacking": len(all_lacking),
                "token": chain.last.token,
                "begun": chain.last.begun.isoformat() if chain.last.begun else None,
                "until": until.isoformat() if until else None,
            }
        )
    elif all_lacking:
        screen.say(f"{counted(covered, 'kata')} whole, {len(all_lacking)} lacking", style="red")
    else:
        said = f"; everything until {until:%Y-%m-%d %H:%M} is in them" if until else ""
        screen.say(f"{counted(covered, 'kata')} whole{said}")
    return exits.FOUND if all_lacking else exits.GOOD


command.add_command(_list, "list")
command.add_command(_check, "check")


class _Chain:
    """A full backup, and those that followed it. Only the digests of their katas are kept."""

    def __init__(self) -> None:
        self.last = BackupFile()
        self._tokens: set[str] = set()
        self._whole: dict[str, str] = {}
        self._problems: dict[str, str] = {}

    def add(self, name: str, found: BackupFile) -> None:
        """Add the next backup; raise CommandFailed if one is missing before it."""
        if found.since and found.since not in self._tokens:
            before = f"name that backup before it: {found.since}"
            raise CommandFailed(f"{name}: follows a backup that is not here: {before}", exits.USAGE)
        self._tokens.add(found.token)
        self._whole.update(found.whole)
        for kata_id in found.whole:
            self._problems.pop(kata_id, None)
        self._problems.update(found.problems)
        self.last = found

    def lacking(self) -> dict[str, str]:
        """Return the katas that the last backup counts on and that are not whole, and why."""
        found = {}
        for kata_id, entry in self.last.entries.items():
            if entry.state == "failed":
                found[kata_id] = f"could not be read when it was backed up: {entry.reason}"
            elif entry.state != "deleted" and self._whole.get(kata_id) != entry.sha256:
                problem = self._problems.get(kata_id, "it is in none of these files")
                found[kata_id] = problem
        return found


def _lacking_until(session: Session, last: BackupFile, until: datetime) -> dict[str, str]:
    """Return the katas of which something from before `until` is not in the backup, and why."""
    lacking = {}
    for part in plan(session.client, last.prefix, last.token):
        if part.HasField("candidate"):
            candidate = part.candidate
            since = (
                candidate.lacks_since.ToDatetime(UTC) if candidate.HasField("lacks_since") else None
            )
            if since is None or since < until:
                what = "is new" if candidate.is_new else "changed"
                when = f"on {since:%Y-%m-%d %H:%M}" if since else "at a time that is not known"
                lacking[candidate.kata_id] = f"{what} {when}, and that is in no backup here"
        elif part.HasField("failure"):
            lacking[part.failure.kata_id] = f"can't be compared: {part.failure.reason}"
        elif part.HasField("end"):
            return lacking
    raise CommandFailed("the storer stopped before the end: check again", exits.UNAVAILABLE)


def _tell(screen: Screen, name: str, found: BackupFile) -> None:
    if screen.as_json:
        return
    kind = f"since {found.since}" if found.since else "all katas"
    begun = f", begun {found.begun:%Y-%m-%d %H:%M}" if found.begun else ""
    screen.say(f"{name}  {kind}{begun}, {counted(len(found.whole), 'kata')} in it; {found.token}")


def _tell_lacking(screen: Screen, kata_id: str, reason: str) -> None:
    if screen.as_json:
        screen.record({"id": kata_id, "reason": reason})
    else:
        screen.say(f"{kata_id}  ", ("lacking", "red"), f": {reason}")


def _json(each: storer_pb2.ListedBackup) -> dict[str, object]:
    return {
        "token": each.token,
        "since": each.since_token or None,
        "prefix": each.prefix,
        "begun": time_json(each.begun) if each.HasField("begun") else None,
        "finished": time_json(each.finished) if each.HasField("finished") else None,
        "sent": each.summary.sent_count,
        "unchanged": each.summary.unchanged_count,
        "deleted": each.summary.deleted_count,
        "failed": each.summary.failed_count,
        "failures": [{"id": failed.kata_id, "reason": failed.reason} for failed in each.failures],
    }
