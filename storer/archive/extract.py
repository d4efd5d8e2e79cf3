"""Extract a kata's tar from the archive into a folder.

The storer wrote the tar, and its digest proves that nobody changed it, so owners and modes are
taken from it. `tarfile` takes five times as long; this reader knows only what
`storer.tar.snapshot` writes.
"""

import io
import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import IO, cast

import zstandard

from dojo.errors import ArchiveDamaged
from storer.archive.archive import SealedReader

_BLOCK = tarfile.BLOCKSIZE
_READ_BYTES = 256 * 1024
_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    kind: bytes
    mode: int
    owner: int
    group: int
    size: int
    modified_ns: int
    target: str


def extract(sealed: SealedReader, kata_id: str, folder: Path) -> None:
    """Extract the kata whose compressed tar is `sealed` into `folder`, over what is there.

    Nobody may see the folder before the digest of `sealed` was checked. Raises ArchiveDamaged.
    """
    try:
        decompressor = zstandard.ZstdDecompressor(max_window_size=2**27)
        stream = decompressor.stream_reader(cast("IO[bytes]", sealed), read_across_frames=True)
        _extract(io.BufferedReader(cast("io.RawIOBase", stream), _READ_BYTES), kata_id, folder)
    except (zstandard.ZstdError, ValueError, EOFError) as error:
        sealed.finish()  # raises first if the tar is not what was written
        raise ArchiveDamaged(sealed.key, str(error)) from error


def _extract(stream: IO[bytes], kata_id: str, folder: Path) -> None:
    top = f"{kata_id[:2]}/{kata_id[2:]}"
    for member in _members(stream):
        if member.name in {top, kata_id[:2]}:
            continue
        path = member.name.removeprefix(f"{top}/")
        if path == member.name or ".." in path.split("/"):
            raise ValueError(f"{member.name!r} is outside of {top}")
        _extract_member(stream, member, f"{folder}/{path}")


def _extract_member(stream: IO[bytes], member: _Member, target: str) -> None:
    if member.kind == tarfile.DIRTYPE:
        _create_folder(member, target)
        return
    with suppress(FileNotFoundError):
        os.unlink(target)  # noqa: PTH108 - as in _create_folder
    if member.kind == tarfile.SYMTYPE:
        os.symlink(member.target, target)  # noqa: PTH211 - as in _create_folder
        os.chown(target, member.owner, member.group, follow_symlinks=False)
        return
    try:
        descriptor = os.open(target, _FILE, 0o600)
    except FileNotFoundError:  # a copy does not name the folders that its base has
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)  # noqa: PTH103, PTH120
        descriptor = os.open(target, _FILE, 0o600)
    with open(descriptor, "wb", buffering=0) as file:
        _copy(stream, file, member.size)
        os.fchown(descriptor, member.owner, member.group)
        os.fchmod(descriptor, member.mode & 0o777)
        os.utime(descriptor, ns=(member.modified_ns, member.modified_ns))


def _create_folder(member: _Member, target: str) -> None:
    try:
        os.mkdir(target)  # noqa: PTH102 - Path.mkdir takes three times as long
    except FileExistsError:
        if not stat.S_ISDIR(os.lstat(target).st_mode):
            raise ValueError(f"{member.name!r} is there twice") from None
    os.chown(target, member.owner, member.group)
    os.chmod(target, member.mode & 0o777)  # noqa: PTH101 - as for mkdir


def _copy(stream: IO[bytes], file: IO[bytes], size: int) -> None:
    remaining = size
    while remaining:
        piece = memoryview(_read_exactly(stream, min(remaining, _READ_BYTES)))
        remaining -= len(piece)
        while piece:
            piece = piece[file.write(piece) :]
    _read_exactly(stream, -size % _BLOCK)


def _members(stream: IO[bytes]) -> Iterator[_Member]:
    """Yield the headers; the caller has to read a member's content before the next header."""
    extended: dict[str, str] = {}
    while (block := _read_exactly(stream, _BLOCK)).count(0) != _BLOCK:
        kind = block[156:157]
        if kind == tarfile.XHDTYPE:
            size = _number(block[124:136])
            extended = _records(_read_exactly(stream, size))
            _read_exactly(stream, -size % _BLOCK)
            continue
        prefix, name = _text(block[345:500]), _text(block[:100])
        yield _Member(
            name=extended.get("path", f"{prefix}/{name}" if prefix else name).rstrip("/"),
            kind=kind,
            mode=_number(block[100:108]),
            owner=int(extended.get("uid", _number(block[108:116]))),
            group=int(extended.get("gid", _number(block[116:124]))),
            size=int(extended.get("size", _number(block[124:136]))),
            modified_ns=int(Decimal(extended["mtime"]) * 10**9)
            if "mtime" in extended
            else _number(block[136:148]) * 10**9,
            target=extended.get("linkpath", _text(block[157:257])),
        )
        extended = {}
    if stream.read(_BLOCK + 1) != bytes(_BLOCK):
        raise ValueError("it does not end as a tar has to")


def _records(content: bytes) -> dict[str, str]:
    """Return the values of an extended header (pax(1): `length key=value`)."""
    values = {}
    while content:
        length, _, _ = content.partition(b" ")
        record, content = content[: int(length)], content[int(length) :]
        key, _, value = record[len(length) + 1 : -1].partition(b"=")
        values[key.decode()] = value.decode(errors="surrogateescape")
    return values


def _number(octal: bytes) -> int:
    return int(octal.strip(b"\0 ") or b"0", 8)


def _text(padded: bytes) -> str:
    return padded.rstrip(b"\0").decode(errors="surrogateescape")


def _read_exactly(stream: IO[bytes], size: int) -> bytes:
    content = stream.read(size)
    if len(content) != size:
        raise EOFError("it is cut off")
    return content
