"""`cyber-dojo backup`: write all katas, or those that changed, as one tar."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import click
import grpc

from cli import exits, outputs
from cli.client import Client, wait_for_return
from cli.storer_command import Session, storer_command
from cli.tar_cut_point import CutPoint
from cli.terminal.complaint import CommandFailed, complain
from cli.terminal.progress import Progress
from cli.terminal.quantities import counted, size
from cli.terminal.screen import Screen
from cyberdojo.storer.v1 import storer_pb2
from dojo import kata_ids
from dojo.chunks import Digest

_ATTEMPTS = 10  # in a row that bring no further kata


@dataclass(frozen=True)
class _Options:
    """What to back up: `since` is a token, `since_last` the file that holds one."""

    prefix: str
    compression: str
    since: str
    since_last: Path | None


@storer_command
@click.argument("prefix", default="")
@outputs.output_option("katas.tar")
@outputs.compression_option
@click.option("--since", default="", metavar="TOKEN", help="Only what changed since that backup.")
@click.option(
    "--since-last",
    type=click.Path(path_type=Path),
    metavar="STATEFILE",
    help="Only what changed since the backup whose token is in this file; everything if there is "
    "no such file. The new token is written to the file at the end.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the new token there instead.",
)
@click.option("--dry-run", is_flag=True, help="Make none; show which katas one would have.")
def command(
    session: Session,
    *,
    prefix: str,
    output: str | None,
    compression: str,
    since: str,
    since_last: Path | None,
    token_file: Path | None,
    dry_run: bool,
) -> int:
    """Back up all katas, or those whose ids begin with PREFIX, as one tar.

    Exits with 9 if the backup is made and lacks katas that could not be read; each is named.
    """
    if since and since_last:
        raise click.UsageError("--since and --since-last exclude each other")
    if dry_run:
        return _plan(session, prefix, since or _read_token(since_last))
    output = output or f"katas.tar{outputs.ENDINGS[compression]}"
    outputs.refuse_terminal(output)
    if not since and not since_last:
        _refuse_unknown(session.client, prefix)
    backup = _Backup(session.client, _Options(prefix, compression, since, since_last))
    with session.progress() as progress, outputs.translating_os_errors(output):
        if output == outputs.STDOUT:
            backup.to_pipe(sys.stdout.buffer, progress)
        elif outputs.is_special(path := outputs.target(output)):
            with path.open("wb") as file:
                backup.to_pipe(file, progress)
        else:
            backup.to_file(path, progress)
    token_file = token_file or since_last
    if token_file is not None:
        with outputs.translating_os_errors(str(token_file)):
            _write_token(token_file, backup.token)
    if output != outputs.STDOUT:
        _summarize(session.screen, output, backup)
    elif backup.failures:
        complain(f"{_counted(backup.summary)}: the next backup tries the failed ones again")
    return exits.PARTIAL if backup.failures else exits.GOOD


def plan(client: Client, prefix: str, since: str) -> Iterator[storer_pb2.BackupKatasResponse]:
    """Yield what the storer says of a backup that is not made.

    Raises CommandFailed if the storer is so old that it would make one.
    """
    request = storer_pb2.BackupKatasRequest(prefix=prefix, since_token=since, dry_run=True)
    parts = client.stub.BackupKatas(request)
    for part in parts:
        if part.header.token:
            parts.cancel()  # type: ignore[no-untyped-call]  # as the stubs have it
            reason = f"the storer at {client.address} is older than this command: update it"
            raise CommandFailed(reason, exits.REFUSED)
        yield part


def _plan(session: Session, prefix: str, since: str) -> int:
    """Show which katas a backup would have."""
    screen = session.screen
    for part in plan(session.client, prefix, since):
        if part.HasField("candidate"):
            kata_id, is_new = part.candidate.kata_id, part.candidate.is_new
            if screen.as_json:
                screen.record({"id": kata_id, "new": is_new})
            else:
                screen.say(f"{kata_id}  {'new' if is_new else 'changed'}")
        elif part.HasField("failure"):
            complain(f"kata {part.failure.kata_id} can't be read: {part.failure.reason}")
        elif part.HasField("summary"):
            complain(f"{_counted(part.summary)}; no backup was made: a dry run")
            return exits.PARTIAL if part.summary.failed_count else exits.GOOD
    raise CommandFailed("the storer stopped before the end: try again", exits.UNAVAILABLE)


def _summarize(screen: Screen, output: str, backup: _Backup) -> None:
    summary = backup.summary
    if not screen.as_json:
        said = f"{output}  {size(backup.size_bytes)}, {_counted(summary)}; token {backup.token}"
        screen.say(said)
        return
    screen.record(
        {
            "file": output,
            "bytes": backup.size_bytes,
            "token": backup.token,
            "full": not backup.since,
            "sent": summary.sent_count,
            "unchanged": summary.unchanged_count,
            "deleted": summary.deleted_count,
            "failed": [
                {"id": kata_id, "reason": reason} for kata_id, reason in backup.failures.items()
            ],
        }
    )


def _counted(summary: storer_pb2.BackupSummary) -> str:
    """Return the counts in words: those of sent and failed katas, and others that are not 0."""
    others = (
        (summary.unchanged_count, "unchanged"),
        (summary.deleted_count, "deleted"),
    )
    words = [f"{counted(summary.sent_count, 'kata')} sent", f"{summary.failed_count} failed"]
    return ", ".join([*words, *(f"{count} {what}" for count, what in others if count)])


def _refuse_unknown(client: Client, prefix: str) -> None:
    """Raise CommandFailed if `prefix` is a whole id that the storer does not keep: a typing error.

    Without this check the backup would be empty, and look like a success.
    """
    if not kata_ids.is_whole(prefix):
        return
    found = client.stub.ListKatas(storer_pb2.ListKatasRequest(prefix=prefix, page_size=1)).katas
    if not any(each.source != storer_pb2.KATA_SOURCE_KATAS_DIRECTORY for each in found):
        raise CommandFailed(f"kata {prefix}: the storer does not keep it", exits.NOT_FOUND)


class _Backup:
    """One backup, received over one or more streams."""

    def __init__(self, client: Client, options: _Options) -> None:
        self._client = client
        self._options = options
        self.since = options.since or _read_token(options.since_last)
        self.token = ""
        self.size_bytes = 0
        self.summary = storer_pb2.BackupSummary()
        self.failures: dict[str, str] = {}  # the reason why a kata is not in the backup, by its id
        self._resumed_bytes = 0

    def to_pipe(self, file: IO[bytes], progress: Progress) -> None:
        """Write to a pipe, where nothing can be taken back: a broken connection ends the backup."""
        try:
            self._receive(self._request(), file, CutPoint(), progress)
        except grpc.RpcError as error:
            if not self._switch_to_full(error):
                raise
            self._receive(self._request(), file, CutPoint(), progress)
        file.flush()

    def to_file(self, path: Path, progress: Progress) -> None:
        """Write to a file. An incomplete file is removed."""
        with outputs.opened_part(path) as file:
            try:
                file.truncate(0)
                self._receive_resuming(file, progress)
                outputs.finish(file, path)
            except BaseException:
                outputs.part_of(path).unlink(missing_ok=True)
                raise

    def _receive_resuming(self, file: IO[bytes], progress: Progress) -> None:
        """Receive the backup; resume after the last complete kata when the connection breaks."""
        cut_point = CutPoint()
        request = self._request()
        attempts = 0
        while True:
            try:
                self._receive(request, file, cut_point, progress)
            except grpc.RpcError as error:
                if self._switch_to_full(error):
                    request = self._request()
                    continue
                attempts = 1 if cut_point.offset > self._resumed_bytes else attempts + 1
                self._resumed_bytes = cut_point.offset
                if not self._can_resume(error) or attempts == _ATTEMPTS:
                    raise
                progress.clear()
                complain("the connection broke: the backup resumes when the storer is back")
                if not wait_for_return(self._client):
                    raise
            else:
                return
            file.seek(cut_point.offset)
            file.truncate()
            self.size_bytes = cut_point.offset
            cut_point = CutPoint(cut_point.offset, cut_point.kata_id)
            request = storer_pb2.BackupKatasRequest(
                resume_token=self.token,
                after_kata_id=cut_point.kata_id,
                compression=storer_pb2.COMPRESSION_NONE,
            )

    def _can_resume(self, error: grpc.RpcError) -> bool:
        """Return whether the storer knows the backup, and the file can be cut after a kata."""
        unavailable = exits.code_of(error) == exits.UNAVAILABLE
        return unavailable and bool(self.token) and self._options.compression == "none"

    def _switch_to_full(self, error: grpc.RpcError) -> bool:
        """Switch to a full backup if the storer no longer knows the last one; return whether so.

        Only with --since-last: --since asks for that very backup.
        """
        if self.token or not self.since or self._options.since_last is None:
            return False
        if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
            return False
        complain("the storer no longer knows the last backup: backing up all katas")
        self.since = ""
        return True

    def _request(self) -> storer_pb2.BackupKatasRequest:
        return storer_pb2.BackupKatasRequest(
            prefix=self._options.prefix,
            since_token=self.since,
            compression=outputs.COMPRESSIONS[self._options.compression],
        )

    def _receive(
        self,
        request: storer_pb2.BackupKatasRequest,
        file: IO[bytes],
        cut_point: CutPoint,
        progress: Progress,
    ) -> None:
        """Write a stream's data; raise CommandFailed if it is not what the storer sent."""
        digest = Digest()
        before = self.size_bytes
        for part in self._client.stub.BackupKatas(request):
            if part.HasField("header"):
                self.token = part.header.token
            elif part.HasField("failure"):
                self._note(part.failure, progress)
            elif part.HasField("summary"):
                self.summary = part.summary
            elif part.HasField("end"):
                if part.end.sha256 != digest.sha256:
                    break
                return
            else:
                digest.update(part.data)
                if self._options.compression == "none":
                    cut_point.update(part.data)
                file.write(part.data)
                self.size_bytes += len(part.data)
                what = f"{cut_point.kata_id} " if cut_point.kata_id else ""
                progress.show_bytes(f"{what}backup", self.size_bytes, before)
        raise CommandFailed("the backup is incomplete: discard it and try again", exits.UNAVAILABLE)

    def _note(self, failure: storer_pb2.BackupFailure, progress: Progress) -> None:
        """Name a kata that is not in the backup, once: a resumed stream names it again."""
        if failure.kata_id not in self.failures:
            progress.clear()
            complain(f"kata {failure.kata_id} is not in the backup: {failure.reason}")
        self.failures[failure.kata_id] = failure.reason


def _read_token(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise CommandFailed(f"{path}: {error}", exits.USAGE) from error


def _write_token(path: Path, token: str) -> None:
    """Replace the file atomically: it holds the old token or the new one."""
    new = outputs.part_of(path)
    try:
        with new.open("w") as file:
            file.write(f"{token}\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
