"""Backups in files: read without a storer, to know whether they are whole.

A backup's tar has a seal behind each kata, `49/3A06504A.json`, with the digest of all bytes since
the seal before; its last member, `backup.json`, lists every kata. The file may be damaged, or be
anything: nothing of it is held but its list of katas.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO, Any, cast

from dojo import kata_ids

_BLOCK = tarfile.BLOCKSIZE
_PIECE_BYTES = 256 * 1024
_MAX_SEAL_BYTES = 64 * 1024
_MAX_LINE = 4096
_MAX_KATAS = 5_000_000
_MANIFEST = "backup.json"
_SEAL = re.compile(r"([0-9A-Za-z]{2})/([0-9A-Za-z]{8})\.json\Z")
# They describe the member that follows.
_EXTENSIONS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)


class NoBackup(Exception):
    """The file is not a whole backup; the message says why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a backup says of a kata: its state, and the digest of its members when last sent."""

    state: str
    sha256: str
    reason: str


@dataclass
class BackupFile:
    """What is in a backup: which katas are whole, and what is wrong with others.

    `begun` is None for a backup of an older storer. `entries` has every kata that the backup lists,
    `whole` the digest of each that is in this very file, as it was backed up.
    """

    token: str = ""
    since: str = ""
    prefix: str = ""
    begun: datetime | None = None
    entries: dict[str, Entry] = field(default_factory=dict)
    whole: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


def read(file: io.BufferedReader) -> BackupFile:
    """Read a backup to its end. Raises NoBackup, or OSError if the file can't be read."""
    reader = _Reader(_decompressed(file))
    try:
        return reader.read()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise NoBackup(f"it breaks off, or its compression is damaged: {error}") from error
    except tarfile.HeaderError as error:
        raise NoBackup(f"it is no tar, or is damaged: {error}") from error


def _decompressed(file: io.BufferedReader) -> IO[bytes]:
    start = file.peek(4)[:4]
    if start.startswith(b"\x1f\x8b"):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=file))
    return _zstd(file) if start == b"\x28\xb5\x2f\xfd" else file


def _zstd(file: IO[bytes]) -> IO[bytes]:
    import zstandard  # noqa: PLC0415 - only a compressed backup needs it

    class Frames(io.RawIOBase):
        """The content of all frames; unlike the library's, it notices a frame that breaks off."""

        def __init__(self) -> None:
            self._frame = zstandard.ZstdDecompressor(max_window_size=2**27).decompressobj()
            self._held = b""
            self._is_inside = False

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            while not self._held:
                if self._frame.eof:
                    rest = self._frame.unused_data
                    self._frame = zstandard.ZstdDecompressor(max_window_size=2**27).decompressobj()
                    self._is_inside = False
                else:
                    rest = b""
                rest = rest or file.read(_PIECE_BYTES // 8)
                if not rest:
                    if self._is_inside:
                        raise EOFError("a frame of zstd breaks off")
                    return 0
                self._is_inside = True
                try:
                    self._held = self._frame.decompress(rest)
                except zstandard.ZstdError as error:
                    raise EOFError(str(error)) from error
            count = min(len(buffer), len(self._held))
            buffer[:count], self._held = self._held[:count], self._held[count:]
            return count

    return cast("IO[bytes]", io.BufferedReader(Frames(), _PIECE_BYTES))


class _Reader:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._found = BackupFile()
        self._digest = hashlib.sha256()  # of the bytes since the last seal
        self._unsealed = ""  # the name of a member since then

    def read(self) -> BackupFile:
        """Read all members."""
        has_manifest = False
        while (header := self._exactly(_BLOCK)) != bytes(_BLOCK):
            member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
            name = "" if member.type in _EXTENSIONS else member.name
            if member.size < 0:
                raise NoBackup(f"the size of {name!a} is negative")
            if has_manifest:
                raise NoBackup(f"something follows {_MANIFEST}: {name!a}")
            if match := _SEAL.match(name):
                self._read_seal(match[1] + match[2], member.size)
            elif name == _MANIFEST:
                has_manifest = True
                self._check_sealed()
                self._read_manifest(member.size)
            else:
                self._unsealed = self._unsealed or name
                self._digest.update(header)
                for piece in self._pieces(_padded(member.size)):
                    self._digest.update(piece)
        if not has_manifest:
            raise NoBackup(f"it has no {_MANIFEST}: it is no backup, or breaks off")
        rest = self._exactly(_BLOCK)  # the second of two empty blocks
        while rest:
            if rest.strip(b"\0"):
                raise NoBackup("something follows the end of the tar")
            rest = self._file.read(_PIECE_BYTES)  # so that the compression's own check is made
        return self._found

    def _read_seal(self, kata_id: str, size: int) -> None:
        if size > _MAX_SEAL_BYTES:
            raise NoBackup(f"the seal of kata {kata_id} is too large")
        content = b"".join(self._pieces(_padded(size)))[:size]
        found, self._digest, self._unsealed = self._digest.hexdigest(), hashlib.sha256(), ""
        try:
            seal = json.loads(content)
            sha256, error = str(seal.get("sha256", "")), str(seal.get("error", ""))
        except (ValueError, AttributeError, RecursionError):
            self._found.problems[kata_id] = "its seal can't be read"
            return
        if error:
            return  # the list of katas says so too
        if sha256 != found:
            self._found.problems[kata_id] = "it is not what was backed up: its digest differs"
        else:
            self._found.whole[kata_id] = sha256

    def _check_sealed(self) -> None:
        if self._unsealed:
            kata_id = "".join(self._unsealed.split("/")[:2])
            self._found.problems[kata_id] = "its seal is missing"

    def _read_manifest(self, size: int) -> None:
        pieces = self._pieces(_padded(size))
        lines = _lines(pieces, size)
        try:
            head = json.loads(next(lines) + b"]}")
            self._found.token, self._found.since = str(head["token"]), str(head["since"])
            self._found.prefix = str(head["prefix"])
            if head.get("begun"):
                self._found.begun = datetime.fromisoformat(head["begun"]).astimezone(UTC)
            for line in lines:
                if line.strip() == b"]}":
                    return
                fields = json.loads(line.removeprefix(b","))
                kata_id, state = str(fields["kata_id"]), str(fields["state"])
                if not kata_ids.is_whole(kata_id) or len(self._found.entries) >= _MAX_KATAS:
                    raise ValueError(kata_id)
                sha256, reason = str(fields.get("sha256", "")), str(fields.get("reason", ""))
                self._found.entries[kata_id] = Entry(state, sha256, reason)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise NoBackup(f"{_MANIFEST} can't be read: {error}") from error
        except StopIteration:
            pass
        raise NoBackup(f"{_MANIFEST} breaks off")

    def _exactly(self, size: int) -> bytes:
        content = self._file.read(size)
        if len(content) < size:
            raise NoBackup("it breaks off: the end of the tar is missing")
        return content

    def _pieces(self, size: int) -> Iterator[bytes]:
        while size:
            piece = self._exactly(min(size, _PIECE_BYTES))
            size -= len(piece)
            yield piece


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _lines(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Yield the lines of a member of `size` bytes; read its padding too."""
    held, left = b"", size
    for piece in pieces:
        held += piece[:left]
        left -= min(left, len(piece))
        *whole, held = held.split(b"\n")
        yield from whole
        if len(held) > _MAX_LINE:
            raise ValueError("a line is too long")
