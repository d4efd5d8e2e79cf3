"""`storer backup`: all katas, or those that changed, as one tar."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import IO

import grpc

from cli import exits, outputs
from cli.client import Client, wait_for_return
from cli.exits import Failed
from cli.tar_marks import Marks
from cli.terminal.progress import Progress
from cli.terminal.screen import Screen, complain, size
from cyberdojo.storer.v1 import storer_pb2
from dojo import kata_ids
from dojo.chunks import Digest

_COMPRESSIONS = {
    "none": storer_pb2.COMPRESSION_NONE,
    "gzip": storer_pb2.COMPRESSION_GZIP,
    "zstd": storer_pb2.COMPRESSION_ZSTD,
}
_ATTEMPTS = 10  # without a further kata having come


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("prefix", nargs="?", default="", help="how the ids begin; all by default")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="where to write, - for a pipe; by default katas.tar"
    )
    parser.add_argument("--compression", choices=outputs.COMPRESSIONS, default="none")
    since = parser.add_mutually_exclusive_group()
    since.add_argument("--since", metavar="TOKEN", help="only what changed since that backup")
    since.add_argument(
        "--since-last",
        type=Path,
        metavar="STATEFILE",
        help="only what changed since the backup whose token is in that file, all if there is "
        "none; the new token is written there in the end",
    )
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="write the new token there instead"
    )


def run(client: Client, told: argparse.Namespace, screen: Screen) -> int:
    """Make a backup."""
    output = told.output or f"katas.tar{outputs.ENDINGS[told.compression]}"
    outputs.refuse_terminal(output)
    if not told.since and not told.since_last:
        _refuse_unknown(client, told.prefix)
    backup = _Backup(client, told)
    with Progress(forced=told.progress) as progress, outputs.failing_clearly(output):
        if output == outputs.STDOUT:
            backup.to_pipe(sys.stdout.buffer, progress)
        elif outputs.is_special(path := outputs.target(output)):
            with path.open("wb") as file:
                backup.to_pipe(file, progress)
        else:
            backup.to_file(path, progress)
    token_file = told.token_file or told.since_last
    if token_file is not None:
        with outputs.failing_clearly(str(token_file)):
            _write_token(token_file, backup.token)
    if output == outputs.STDOUT:
        return exits.GOOD
    if screen.as_json:
        screen.record(
            {
                "file": output,
                "bytes": backup.size_bytes,
                "token": backup.token,
                "full": not backup.since,
            }
        )
    else:
        kind = "what changed" if backup.since else "all katas"
        screen.say(f"{output}  {size(backup.size_bytes)}, {kind}; token {backup.token}")
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

    def __init__(self, client: Client, told: argparse.Namespace) -> None:
        self._client = client
        self._told = told
        self.since = told.since or _read_token(told.since_last)
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
        return unavailable and bool(self.token) and self._told.compression == "none"

    def _forgotten(self, error: grpc.RpcError) -> bool:
        """Say whether the storer does not know the last backup any more: then all is sent.

        Only where that was left to us, by --since-last.
        """
        if self.token or not self.since or self._told.since_last is None:
            return False
        if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
            return False
        complain("the storer does not know the last backup any more: all katas are sent")
        self.since = ""
        return True

    def _request(self) -> storer_pb2.BackupKatasRequest:
        return storer_pb2.BackupKatasRequest(
            prefix=self._told.prefix,
            since_token=self.since,
            compression=_COMPRESSIONS[self._told.compression],
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
                if self._told.compression == "none":
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
