"""`cyber-dojo download`: write a kata as a tar, and resume a download that broke off."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import click
import grpc

from cli import exits, outputs
from cli.client import Client, wait_for_return
from cli.parameters import AvatarName, KataId
from cli.storer_command import Session, storer_command
from cli.terminal.complaint import CommandFailed, complain
from cli.terminal.progress import Progress
from cli.terminal.quantities import size
from cyberdojo.storer.v1 import storer_pb2
from dojo.chunks import CHUNK_BYTES, Digest

_ATTEMPTS = 10


class _DigestMismatch(Exception):
    """The file is not what the storer sent: the part that was here belongs to another tar."""


@dataclass(frozen=True)
class _Options:
    """What to download."""

    kata_id: str
    compression: str
    avatar: str = ""
    as_bundle: bool = False
    for_saver: bool = False

    @property
    def what(self) -> str:
        """What is downloaded, in one word."""
        of_avatar = f"-{self.avatar}" if self.avatar else "-saver" if self.for_saver else ""
        return f"{self.kata_id}{of_avatar}{'.bundle' if self.as_bundle else ''}"

    @property
    def name(self) -> str:
        """The name of the file, by default."""
        ending = "" if self.as_bundle else f".tar{outputs.ENDINGS[self.compression]}"
        return f"{self.what}{ending}"

    def request(self, **more: Any) -> storer_pb2.DownloadKataRequest:
        """Return the request, with more fields."""
        return storer_pb2.DownloadKataRequest(
            kata_id=self.kata_id,
            compression=outputs.COMPRESSIONS[self.compression],
            avatar=self.avatar,
            as_bundle=self.as_bundle,
            for_saver=self.for_saver,
            **more,
        )


@storer_command
@click.argument("kata_id", type=KataId(), metavar="ID")
@outputs.output_option("ID.tar")
@outputs.compression_option
@click.option(
    "--avatar",
    type=AvatarName(),
    help="Only this avatar's git repository, with all of its lights.",
)
@click.option(
    "--bundle",
    is_flag=True,
    help="The avatar's repository as one file that git clone takes; by default ID-AVATAR.bundle.",
)
@click.option(
    "--saver",
    "for_saver",
    is_flag=True,
    help="The whole kata in the layout of today's server, version 2, for its directory.",
)
def command(session: Session, output: str | None, *, bundle: bool, **what: Any) -> int:
    """Download a kata as a tar, or an avatar's git repository.

    The file is called FILE.part until it is complete. If a download breaks off, the same command
    resumes it.
    """
    options = _Options(**{**what, "avatar": what["avatar"] or ""}, as_bundle=bundle)
    if bundle and not options.avatar:
        raise click.UsageError("--bundle needs --avatar: a bundle is the repository of one")
    if options.for_saver and options.avatar:
        raise click.UsageError("--saver is for a whole kata, without --avatar")
    if bundle and options.compression != "none":
        raise click.UsageError("--bundle goes without --compression: a bundle is compressed")
    output = output or options.name
    outputs.refuse_terminal(output)
    client = session.client
    with session.progress() as progress, outputs.translating_os_errors(output):
        if output == outputs.STDOUT:
            _to_pipe(client, options, sys.stdout.buffer, progress)
            return exits.GOOD
        if outputs.is_special(path := outputs.target(output)):
            with path.open("wb") as file:
                digest = _to_pipe(client, options, file, progress)
        else:
            digest = _to_file(client, options, path, progress)
    if session.screen.as_json:
        session.screen.record(
            {
                "id": options.kata_id,
                "file": output,
                "bytes": digest.size_bytes,
                "sha256": digest.sha256.hex(),
            }
        )
    else:
        session.screen.say(f"{output}  {size(digest.size_bytes)}")
    return exits.GOOD


def _to_pipe(client: Client, options: _Options, file: IO[bytes], progress: Progress) -> Digest:
    request = options.request()
    digest = Digest()
    for part in client.stub.DownloadKata(request):
        if part.HasField("end"):
            file.flush()
            if part.end.sha256 == digest.sha256:
                return digest
        elif part.data:
            digest.update(part.data)
            file.write(part.data)
            progress.show_bytes(options.kata_id, digest.size_bytes)
    raise CommandFailed("the download is incomplete: discard it and try again", exits.UNAVAILABLE)


@dataclass(frozen=True)
class _Partial:
    """An incomplete download: its file, and a note that records what was being downloaded."""

    path: Path
    options: _Options

    @property
    def part(self) -> Path:
        return outputs.part_of(self.path)

    @property
    def note(self) -> Path:
        return self.part.with_name(f"{self.part.name}.state")

    def state(self) -> bytes:
        """Return the kata's state that the part was made from; none if it can't be resumed."""
        try:
            found = json.loads(self.note.read_bytes())
            if [found["id"], found["compression"]] == self._key() and self.part.exists():
                return bytes.fromhex(found["state"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return b""
        return b""

    def save_state(self, state: bytes) -> None:
        """Record the kata's state that the part was made from."""
        kata, compression = self._key()
        text = json.dumps({"id": kata, "compression": compression, "state": state.hex()})
        self.note.write_text(text + "\n")

    def remove(self) -> None:
        """Remove the part and its note."""
        self.note.unlink(missing_ok=True)
        self.part.unlink(missing_ok=True)

    def _key(self) -> list[str]:
        return [self.options.what, self.options.compression]


def _to_file(client: Client, options: _Options, path: Path, progress: Progress) -> Digest:
    """Download to a file, resuming when the connection breaks; return the file's digest."""
    partial = _Partial(path, options)
    for attempt in range(_ATTEMPTS):
        try:
            with outputs.opened_part(path) as file:
                return _attempt(client, partial, file, progress)
        except _DigestMismatch:
            partial.remove()
        except grpc.RpcError as error:
            if exits.code_of(error) != exits.UNAVAILABLE:
                _remove_if_empty(partial)
                raise
            if not partial.state() or attempt + 1 == _ATTEMPTS:
                _remove_if_empty(partial)
                raise
            progress.clear()
            complain("the connection broke: the download resumes when the storer is back")
            if not wait_for_return(client):
                raise
    raise CommandFailed(
        f"the download broke off or did not match its digest {_ATTEMPTS} times, as the kata "
        "changes all the time: try again",
        exits.UNAVAILABLE,
    )


def _remove_if_empty(partial: _Partial) -> None:
    if not partial.state():
        partial.remove()


def _attempt(client: Client, partial: _Partial, file: IO[bytes], progress: Progress) -> Digest:
    request = partial.options.request(resumable=True, state=partial.state(), offset=file.seek(0, 2))
    if not request.state:
        request.offset = 0
    digest = Digest()
    before = 0
    for part in client.stub.DownloadKata(request):
        if part.HasField("header"):
            before = part.header.offset
            if request.offset and not before:
                progress.clear()
                complain("the kata has changed since: downloading all of it again")
            file.truncate(before)
            _digest(file, digest)
            partial.save_state(part.header.state)
        elif part.HasField("end"):
            if (part.end.sha256, part.end.size_bytes) != (digest.sha256, digest.size_bytes):
                raise _DigestMismatch
            outputs.finish(file, partial.path)
            partial.remove()
            return digest
        else:
            digest.update(part.data)
            file.write(part.data)
            progress.show_bytes(partial.options.kata_id, digest.size_bytes, before)
    raise _DigestMismatch


def _digest(file: IO[bytes], digest: Digest) -> None:
    """Add what the file holds already, and leave the file at its end."""
    file.seek(0)
    while piece := file.read(CHUNK_BYTES):
        digest.update(piece)
