"""`cyber-dojo backup`: all katas, or those that changed, as one tar."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import click
import grpc

from cli import exits, outputs
from cli.client import Client, wait_for_return
from cli.storer_command import Session, storer_command
from cli.tar_cut_point import Marks
from cli.terminal.complaint import Failed, complain
from cli.terminal.progress import Progress
from cli.terminal.quantities import size
from cyberdojo.storer.v1 import storer_pb2
from dojo import kata_ids
from dojo.chunks import Digest

_ATTEMPTS = 10  # without a further kata having come


@dataclass(frozen=True)
class _Wanted:
    """What is to be backed up: `since` is a token, `since_last` the file that has one."""

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
    help="Only what changed since the backup whose token is in that file, all if there is none; "
    "the new token is written there in the end.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the new token there instead.",
)
def command(
    session: Session,
    *,
    prefix: str,
    output: str | None,
    compression: str,
    since: str,
    since_last: Path | None,
    token_file: Path | None,
) -> int:
    """Back katas up, as one tar: all, or those whose ids begin with PREFIX."""
    if since and since_last:
        raise click.UsageError("either --since or --since-last")
    output = output or f"katas.tar{outputs.ENDINGS[compression]}"
    outputs.refuse_terminal(output)
    if not since and not since_last:
        _refuse_unknown(session.client, prefix)
    backup = _Backup(session.client, _Wanted(prefix, compression, since, since_last))
    with session.progress() as progress, outputs.failing_clearly(output):
        if output == outputs.STDOUT:
            backup.to_pipe(sys.stdout.buffer, progress)
        elif outputs.is_special(path := outputs.target(output)):
            with path.open("wb") as file:
                backup.to_pipe(file, progress)
        else:
            backup.to_file(path, progress)
    token_file = token_file or since_last
    if token_file is not None:
        with outputs.failing_clearly(str(token_file)):
            _write_token(token_file, backup.token)
    if output == outputs.STDOUT:
        return exits.GOOD
    if session.screen.as_json:
        session.screen.record(
            {
                "file": output,
                "bytes": backup.size_bytes,
                "token": backup.token,
                "full": not backup.since,
            }
        )
    else:
        kind = "what changed" if backup.since else "all katas"
        session.screen.say(f"{output}  {size(backup.size_bytes)}, {kind}; token {backup.token}")
    return exits.GOOD


def _refuse_unknown(client: Client, prefix: str) -> None:
    """Raise Failed if the one kata that is to be backed up is not kept here: it was mistyped."""
    if not kata_ids.is_whole(prefix):
        return
    found = client.stub.ListKatas(storer_pb2.ListKatasRequest(prefix=prefix, page_size=1)).katas
    if not any(each.source != storer_pb2.KATA_SOURCE_KATAS_DIRECTORY for each in found):
        raise Failed(f"kata {prefix}: it is not kept here", exits.NOT_FOUND)


class _Backup:
    """One backup, over as many streams as it takes."""

    def __init__(self, client: Client, wanted: _Wanted) -> None:
        self._client = client
        self._wanted = wanted
        self.since = wanted.since or _read_token(wanted.since_last)
        self.token = ""
        self.size_bytes = 0
        self._whole_bytes = 0

    def to_pipe(self, file: IO[bytes], progress: Progress) -> None:
        """Write to what can't be taken back: a connection that breaks is the end."""
        try:
            self._receive(self._request(), file, Marks(), progress)
        except grpc.RpcError as error:
            if not self._forgotten(error):
                raise
            self._receive(self._request(), file, Marks(), progress)
        file.flush()

    def to_file(self, path: Path, progress: Progress) -> None:
        """Write to a file; one that does not become whole goes."""
        with outputs.opened_part(path) as file:
            try:
                file.truncate(0)
                self._persist(file, progress)
                outputs.finish(file, path)
            except BaseException:
                outputs.part_of(path).unlink(missing_ok=True)
                raise

    def _persist(self, file: IO[bytes], progress: Progress) -> None:
        """Go on behind the newest whole kata where the connection breaks."""
        marks = Marks()
        request = self._request()
        attempts = 0
        while True:
            try:
                self._receive(request, file, marks, progress)
            except grpc.RpcError as error:
                if self._forgotten(error):
                    request = self._request()
                    continue
                attempts = 1 if marks.offset > self._whole_bytes else attempts + 1
                self._whole_bytes = marks.offset
                if not self._can_go_on(error) or attempts == _ATTEMPTS:
                    raise
                progress.clear()
                complain("the connection broke; it goes on when the storer is there again")
                if not wait_for_return(self._client):
                    raise
            else:
                return
            file.seek(marks.offset)
            file.truncate()
            self.size_bytes = marks.offset
            marks = Marks(marks.offset, marks.kata_id)
            request = storer_pb2.BackupKatasRequest(
                resume_token=self.token,
                after_kata_id=marks.kata_id,
                compression=storer_pb2.COMPRESSION_NONE,
            )

    def _can_go_on(self, error: grpc.RpcError) -> bool:
        """Say whether the storer knows of the backup, and the file can be cut behind a kata."""
        unavailable = exits.code_of(error) == exits.UNAVAILABLE
        return unavailable and bool(self.token) and self._wanted.compression == "none"

    def _forgotten(self, error: grpc.RpcError) -> bool:
        """Say whether the storer does not know the last backup any more: then all is sent.

        Only where that was left to us, by --since-last.
        """
        if self.token or not self.since or self._wanted.since_last is None:
            return False
        if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
            return False
        complain("the storer does not know the last backup any more: all katas are sent")
        self.since = ""
        return True

    def _request(self) -> storer_pb2.BackupKatasRequest:
        return storer_pb2.BackupKatasRequest(
            prefix=self._wanted.prefix,
            since_token=self.since,
            compression=outputs.COMPRESSIONS[self._wanted.compression],
        )

    def _receive(
        self,
        request: storer_pb2.BackupKatasRequest,
        file: IO[bytes],
        marks: Marks,
        progress: Progress,
    ) -> None:
        """Write what a stream brings; raise Failed if it is not what was sent."""
        digest = Digest()
        before = self.size_bytes
        for part in self._client.stub.BackupKatas(request):
            if part.HasField("header"):
                self.token = part.header.token
            elif part.HasField("end"):
                if part.end.sha256 != digest.sha256:
                    break
                return
            else:
                digest.update(part.data)
                if self._wanted.compression == "none":
                    marks.update(part.data)
                file.write(part.data)
                self.size_bytes += len(part.data)
                what = f"{marks.kata_id} " if marks.kata_id else ""
                progress.tell_bytes(f"{what}backup", self.size_bytes, before)
        raise Failed("the backup is not whole: throw it away and call again", exits.UNAVAILABLE)


def _read_token(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise Failed(f"{path}: {error}", exits.USAGE) from error


def _write_token(path: Path, token: str) -> None:
    """Replace the file, so that it has the old token or the new one."""
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
