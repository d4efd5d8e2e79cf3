"""`cyber-dojo restore`: restore katas from a backup, or from any tar of a katas directory."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import sys
from collections.abc import Iterator

import click
import grpc

from cli import exits, outputs
from cli.client import Client
from cli.parameters import KataId
from cli.storer_command import Session, storer_command
from cli.terminal.complaint import CommandFailed, complain
from cli.terminal.progress import Progress
from cli.terminal.quantities import counted
from cli.terminal.screen import Screen
from cyberdojo.storer.v1 import storer_pb2
from dojo.chunks import CHUNK_BYTES, Digest

_LINKS_SHOWN = 3

_FAILURES = {
    storer_pb2.RESTORE_OUTCOME_SKIPPED,
    storer_pb2.RESTORE_OUTCOME_REFUSED,
    storer_pb2.RESTORE_OUTCOME_MISSING,
}


@storer_command
@click.argument("file", type=click.Path(), default=outputs.STDOUT)
@click.argument("ids", type=KataId(), nargs=-1, metavar="[ID...]")
@click.option("--only-damaged", is_flag=True, help="Restore only katas that are damaged here.")
@click.option(
    "--overwrite", is_flag=True, help="Replace katas that are damaged or have another manifest."
)
@click.option(
    "--discard-lights",
    is_flag=True,
    help="With --overwrite, --only-damaged or --apply-deletions: also if lights go for ever that "
    "are not in the backup.",
)
@click.option(
    "--apply-deletions", is_flag=True, help="Delete katas that the backup says were deleted."
)
@click.option("--dry-run", is_flag=True, help="Change nothing; show what would be done.")
def command(session: Session, file: str, ids: tuple[str, ...], **options: bool) -> int:
    """Restore katas from a backup, or from any tar of a katas directory: all, or those with an ID.

    Without FILE, or with -, the backup is read from a pipe. Exits with 1 if a kata is not now as
    the backup has it.
    """
    if options["discard_lights"] and not (
        options["overwrite"] or options["only_damaged"] or options["apply_deletions"]
    ):
        raise click.UsageError(
            "--discard-lights needs --overwrite, --only-damaged or --apply-deletions"
        )
    if file == outputs.STDOUT and sys.stdin.isatty():
        raise CommandFailed("a terminal has no backup: name a file, or use a pipe", exits.USAGE)
    header = storer_pb2.RestoreKatasHeader(kata_ids=ids, **options)
    with contextlib.ExitStack() as opened:
        # Unbuffered: a buffer has a lock, which a thread that still waits for the pipe would hold
        # at the exit of a restore that ended early.
        if file == outputs.STDOUT:
            descriptor = sys.stdin.fileno()
            read = opened.enter_context(open(descriptor, "rb", buffering=0, closefd=False))
        else:
            with outputs.translating_os_errors(file):
                read = opened.enter_context(open(file, "rb", buffering=0))
        progress = opened.enter_context(session.progress())
        source = _Source(read)
        try:
            return _restore(session.client, source, header, progress, session.screen)
        except grpc.RpcError as error:
            if source.error is not None:
                with outputs.translating_os_errors(file):
                    raise source.error from error
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                said = exits.message_of(error, session.client.address)
                raise CommandFailed(f"{file}: {said}", exits.DAMAGED) from error
            raise


class _Source:
    """A file or pipe, read in another thread. `error` says why it could not be read.

    `size_bytes` is None for a pipe.
    """

    def __init__(self, file: io.FileIO) -> None:
        self.error: OSError | None = None
        found = os.fstat(file.fileno())
        self.size_bytes = found.st_size if stat.S_ISREG(found.st_mode) else None
        self._file = file

    def pieces(self) -> Iterator[bytes]:
        """Yield the content as it arrives, in pieces of at most CHUNK_BYTES."""
        while True:
            try:
                piece = self._file.read(CHUNK_BYTES)
            except OSError as error:
                self.error = error
                raise
            if not piece:
                return
            yield piece


def _restore(
    client: Client,
    source: _Source,
    header: storer_pb2.RestoreKatasHeader,
    progress: Progress,
    screen: Screen,
) -> int:
    failures = stay = 0
    for part in client.stub.RestoreKatas(_requests(source, header, progress)):
        progress.clear()
        if part.HasField("summary"):
            _summarize(screen, part.summary, is_dry_run=header.dry_run)
            if stay:
                complain(
                    f"{counted(stay, 'kata')} kept lights that the backup has not; to give them "
                    "up for ever, restore with --overwrite --discard-lights"
                )
            return exits.FOUND if failures else exits.GOOD
        report = part.report
        failures += report.outcome in _FAILURES
        stay += report.outcome == storer_pb2.RESTORE_OUTCOME_SKIPPED and report.lost_light_count > 0
        _report(screen, report)
    raise CommandFailed("the storer stopped before the end: restore again", exits.UNAVAILABLE)


def _requests(
    source: _Source, header: storer_pb2.RestoreKatasHeader, progress: Progress
) -> Iterator[storer_pb2.RestoreKatasRequest]:
    yield storer_pb2.RestoreKatasRequest(header=header)
    digest = Digest()
    for piece in source.pieces():
        digest.update(piece)
        yield storer_pb2.RestoreKatasRequest(data=piece)
        progress.show_bytes("restore", digest.size_bytes, total=source.size_bytes)
    end = storer_pb2.StreamEnd(size_bytes=digest.size_bytes, sha256=digest.sha256)
    yield storer_pb2.RestoreKatasRequest(end=end)


def _outcome(outcome: storer_pb2.RestoreOutcome.ValueType) -> str:
    return storer_pb2.RestoreOutcome.Name(outcome).removeprefix("RESTORE_OUTCOME_").lower()


def _report(screen: Screen, report: storer_pb2.RestoreReport) -> None:
    outcome = _outcome(report.outcome)
    if screen.as_json:
        value: dict[str, object] = {
            "id": report.kata_id,
            "outcome": outcome,
            "reason": report.reason or None,
            "lost_lights": report.lost_light_count,
        }
        if report.HasField("left_out"):
            value["left_out"] = {"count": report.left_out.count, "names": [*report.left_out.names]}
        screen.record(value)
        return
    if report.outcome == storer_pb2.RESTORE_OUTCOME_SOUND:
        return  # there can be thousands, and nothing was wanted of them: they are counted
    colour = "red" if report.outcome in _FAILURES else ""
    if report.outcome == storer_pb2.RESTORE_OUTCOME_REPLACED and report.lost_light_count:
        colour = "red"
    if report.outcome == storer_pb2.RESTORE_OUTCOME_UNCHANGED:
        colour = "dim"
    reason = f": {report.reason}" if report.reason else ""
    screen.say(f"{report.kata_id}  ", (outcome, colour), reason)
    if count := report.left_out.count:
        named = ", ".join(report.left_out.names[:_LINKS_SHOWN])
        more = f" and {count - _LINKS_SHOWN} more" if count > _LINKS_SHOWN else ""
        screen.say(f"          without links that lead out of their sandbox: {named}{more}")
    screen.flush()


def _summarize(screen: Screen, summary: storer_pb2.RestoreSummary, *, is_dry_run: bool) -> None:
    if screen.as_json:
        counts = {_outcome(each.outcome): each.katas for each in summary.counts}
        screen.record({"counts": counts, "token": summary.token or None, "dry_run": is_dry_run})
        return
    words = ", ".join(f"{each.katas} {_outcome(each.outcome)}" for each in summary.counts)
    said = words or "the backup has no kata"
    screen.say(f"{said}; nothing was changed: a dry run" if is_dry_run else said)
