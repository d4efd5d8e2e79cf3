"""`cyber-dojo download`: a kata as a tar; a download that broke goes on where it broke."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import click
import grpc

from cli import exits, outputs
from cli.client import Client, wait_for_return
from cli.parameters import KataId
from cli.storer_command import Session, storer_command
from cli.terminal.complaint import Failed, complain
from cli.terminal.progress import Progress
from cli.terminal.quantities import size
from cyberdojo.storer.v1 import storer_pb2
from dojo.chunks import CHUNK_BYTES, Digest

_ATTEMPTS = 10


class _Another(Exception):
    """What came is not what the storer sent: what was here before belonged to something else."""


@dataclass(frozen=True)
class _Wanted:
    """What is to be downloaded."""

    kata_id: str
    compression: str


@storer_command
@click.argument("kata_id", type=KataId(), metavar="ID")
@outputs.output_option("ID.tar")
@outputs.compression_option
def command(session: Session, kata_id: str, output: str | None, compression: str) -> int:
    """Download a kata as a tar.

    A file is called FILE.part until it is whole. The same command goes on where it broke.
    """
    wanted = _Wanted(kata_id, compression)
    output = output or f"{kata_id}.tar{outputs.ENDINGS[compression]}"
    outputs.refuse_terminal(output)
    client = session.client
    with session.progress() as progress, outputs.failing_clearly(output):
        if output == outputs.STDOUT:
            _to_pipe(client, wanted, sys.stdout.buffer, progress)
            return exits.GOOD
        if outputs.is_special(path := outputs.target(output)):
            with path.open("wb") as file:
                digest = _to_pipe(client, wanted, file, progress)
        else:
            digest = _to_file(client, wanted, path, progress)
    if session.screen.as_json:
        session.screen.record(
            {
                "id": kata_id,
                "file": output,
                "bytes": digest.size_bytes,
                "sha256": digest.sha256.hex(),
            }
        )
    else:
        session.screen.say(f"{output}  {size(digest.size_bytes)}")
    return exits.GOOD


def _to_pipe(client: Client, wanted: _Wanted, file: IO[bytes], progress: Progress) -> Digest:
    request = storer_pb2.DownloadKataRequest(
        kata_id=wanted.kata_id, compression=outputs.COMPRESSIONS[wanted.compression]
    )
    digest = Digest()
    for part in client.stub.DownloadKata(request):
        if part.HasField("end"):
            file.flush()
            if part.end.sha256 == digest.sha256:
                return digest
        elif part.data:
            digest.update(part.data)
            file.write(part.data)
            progress.tell_bytes(wanted.kata_id, digest.size_bytes)
    raise Failed("the download is not whole: throw it away and call again", exits.UNAVAILABLE)


@dataclass(frozen=True)
class _Partial:
    """A download that is not whole: the file, and beside it what it is a part of."""

    path: Path
    wanted: _Wanted

    @property
    def part(self) -> Path:
        return outputs.part_of(self.path)

    @property
    def note(self) -> Path:
        return self.part.with_name(f"{self.part.name}.state")

    def state(self) -> bytes:
        """Return the state that the part is of; none if there is none to go on with."""
        try:
            found = json.loads(self.note.read_bytes())
            if [found["id"], found["compression"]] == self._what() and self.part.exists():
                return bytes.fromhex(found["state"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return b""
        return b""

    def remember(self, state: bytes) -> None:
        """Write down which state the part is of."""
        kata, compression = self._what()
        text = json.dumps({"id": kata, "compression": compression, "state": state.hex()})
        self.note.write_text(text + "\n")

    def forget(self) -> None:
        """Remove both."""
        self.note.unlink(missing_ok=True)
        self.part.unlink(missing_ok=True)

    def _what(self) -> list[str]:
        return [self.wanted.kata_id, self.wanted.compression]


def _to_file(client: Client, wanted: _Wanted, path: Path, progress: Progress) -> Digest:
    """Download to a file, going on as often as the connection breaks; return its digest."""
    partial = _Partial(path, wanted)
    for attempt in range(_ATTEMPTS):
        try:
            with outputs.opened_part(path) as file:
                return _attempt(client, partial, file, progress)
        except _Another:
            partial.forget()
        except grpc.RpcError as error:
            if exits.code_of(error) != exits.UNAVAILABLE:
                _forget_empty(partial)
                raise
            if not partial.state() or attempt + 1 == _ATTEMPTS:
                _forget_empty(partial)
                raise
            progress.clear()
            complain("the connection broke; it goes on when the storer is there again")
            if not wait_for_return(client):
                raise
    raise Failed("what comes is never whole: the kata changes all the time", exits.UNAVAILABLE)


def _forget_empty(partial: _Partial) -> None:
    if not partial.state():
        partial.forget()


def _attempt(client: Client, partial: _Partial, file: IO[bytes], progress: Progress) -> Digest:
    request = storer_pb2.DownloadKataRequest(
        kata_id=partial.wanted.kata_id,
        compression=outputs.COMPRESSIONS[partial.wanted.compression],
        resumable=True,
        state=partial.state(),
        offset=file.seek(0, 2),
    )
    if not request.state:
        request.offset = 0
    digest = Digest()
    before = 0
    for part in client.stub.DownloadKata(request):
        if part.HasField("header"):
            before = part.header.offset
            if request.offset and not before:
                progress.clear()
                complain("the kata is not as it was then: all of it comes again")
            file.truncate(before)
            _digest(file, digest)
            partial.remember(part.header.state)
        elif part.HasField("end"):
            if (part.end.sha256, part.end.size_bytes) != (digest.sha256, digest.size_bytes):
                raise _Another
            outputs.finish(file, partial.path)
            partial.forget()
            return digest
        else:
            digest.update(part.data)
            file.write(part.data)
            progress.tell_bytes(partial.wanted.kata_id, digest.size_bytes, before)
    raise _Another


def _digest(file: IO[bytes], digest: Digest) -> None:
    """Add what is in the file already, and be at its end."""
    file.seek(0)
    while piece := file.read(CHUNK_BYTES):
        digest.update(piece)
