"""Reads an untrusted tar, as a stream."""

import errno
import gzip
import io
import os
import stat
import tarfile
import zlib
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import IO, Any, Self, cast

import zstandard

from dojo.errors import InvalidArgument
from storer.fs import tree

_MAX_HEADER_BYTES = 1024**2
_MAX_END_BYTES = 16 * 1024**2  # tar pads a tar with zeros, to a multiple of a small size

_READ_BYTES = 256 * 1024

_GZIP_MAGIC = b"\x1f\x8b"
_MAGIC_BYTES = 4
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_EMPTY_FRAME = zstandard.ZstdCompressor().compress(b"")


class InvalidKata(InvalidArgument):
    """A kata in a tar is not whole, or holds a member that no kata can have."""

    def __init__(self, reason: str) -> None:
        super().__init__("data", reason)


class translate_tar_errors:  # noqa: N801 - used like a function
    """Raise InvalidArgument for the libraries' errors about a broken tar."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(
            error, tarfile.TarError | gzip.BadGzipFile | EOFError | zlib.error | zstandard.ZstdError
        ):
            raise InvalidArgument("data", f"is not a whole tar: {error}") from error


class Tar:
    """Reads the members of a tar, compressed or not, in their order; digests what it reads.

    `member` is the current member, None behind the last.
    """

    def __init__(self, pieces: Iterator[bytes]) -> None:
        """Read the header of the first member. The first bytes tell the compression."""
        self._digests = _DigestingReader(_decompress(_PiecesReader(_with_whole_magic(pieces))))
        self._archive = _Archive.open(
            fileobj=cast("IO[bytes]", self._digests),
            mode="r|",
            bufsize=tarfile.BLOCKSIZE,  # or part of the next member would be read with this one
            tarinfo=_StrictHeader,
            errorlevel=2,
        )
        self._members = self._iterate()
        self.member = next(self._members, None)

    @property
    def comment(self) -> str:
        """The comment on the tar as a whole, such as `git archive` writes."""
        return self._archive.pax_headers.get("comment", "")

    def advance(self) -> None:
        """Move to the next member."""
        self.member = next(self._members, None)

    def digest_before(self) -> str:
        """Return the SHA-256 digest, in hexadecimal, of the bytes before the current member.

        The digest begins behind the member at which `restart_digest` was called.
        """
        return self._digests.before.hexdigest()

    def restart_digest(self) -> None:
        """Begin the next digest behind the current member."""
        self._digests.is_restarting = True

    def parts(self) -> tuple[str, ...]:
        """Return the parts of the current member's name; raise InvalidKata if it leads out."""
        if self.member is None:
            return ()
        name = self.member.name
        parts = tuple(part for part in name.split("/") if part not in {"", "."})
        if name.startswith("/") or ".." in parts or "\0" in name:
            raise InvalidKata(f"{name!r} leads out of the kata")
        return parts

    def unpack(self, folder: Path, path: PurePosixPath) -> None:
        """Extract the current member to `path` in `folder`; refuse a path through a link."""
        member = self.member
        if member is None or any(tree.is_stray(part) for part in path.parts):
            return
        if len(path.parts) > tree.MAX_DEPTH:
            raise InvalidKata(f"{member.name!r} is too deep")
        if path.parts[0].startswith("."):
            raise InvalidKata(f"{member.name!r} has no place in a kata")
        try:
            _make_parents(folder, path)
            self._make(member, folder, path)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise InvalidKata(f"{member.name!r} is there twice") from error
        except OSError as error:
            if error.errno is not None and error.errno in _BAD_NAME:
                raise InvalidKata(f"{member.name!r}: {error.strerror}") from error
            raise

    def content(self) -> IO[bytes]:
        """Return the content of the current member, to be read before `advance`."""
        found = self._archive.extractfile(self.member) if self.member else None
        if found is None:
            raise InvalidKata("a member has no content")
        return found

    def finish(self) -> None:
        """Read to the end; raise tarfile.ReadError if the tar's end is missing or not the end.

        A tar ends with two or more blocks of zeros, of which one was read.
        """
        stream = cast("IO[bytes]", self._archive.fileobj)
        read_bytes = 0
        while piece := stream.read(1024**2):
            read_bytes += len(piece)
            if piece.count(0) != len(piece) or read_bytes > _MAX_END_BYTES:
                raise tarfile.ReadError("something comes after its end")
        if read_bytes < tarfile.BLOCKSIZE:
            raise tarfile.ReadError("its end is missing")

    def _iterate(self) -> Iterator[tarfile.TarInfo]:
        for member in self._archive:
            if member.size < 0:
                raise tarfile.ReadError(f"{member.name!r} has {member.size} bytes")
            yield member
            self._archive.members = []  # or tarfile would keep all members in memory

    def _make(self, member: tarfile.TarInfo, folder: Path, path: PurePosixPath) -> None:
        target = folder / path
        if member.isdir():
            _make_folder(target)
        elif member.issym():
            if not tree.link_stays_inside(path, member.linkname):
                raise InvalidKata(f"{member.name!r} is a link to {member.linkname!r}")
            target.symlink_to(member.linkname)
            return
        elif member.isreg() and not member.issparse():
            self._write(target)
        else:
            raise InvalidKata(f"{member.name!r} is neither a file nor a folder")
        target.chmod(stat.S_IMODE(member.mode) & 0o777)
        modified = _modified_ns(member)
        os.utime(target, ns=(modified, modified), follow_symlinks=False)

    def _write(self, target: Path) -> None:
        content = self.content()
        with target.open("xb") as file:
            while piece := content.read(1024**2):
                file.write(piece)


class _Archive(tarfile.TarFile):
    """A tar that tells a header from an extended header, which tarfile reads inside of it."""

    is_inside_header = False
    members: list[tarfile.TarInfo]


class _StrictHeader(tarfile.TarInfo):
    """A member's header that is whole and whose extended headers can't exhaust the memory."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """Read the next header; raise tarfile.ReadError if it is broken, also at the end."""
        tar = cast("_Archive", archive)
        is_outermost = not tar.is_inside_header
        try:
            if is_outermost:
                tar.is_inside_header = True
                cast("Any", tar.fileobj).fileobj.at_header()
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the tar's proper end
            raise
        except (tarfile.HeaderError, ValueError, RecursionError) as error:
            raise tarfile.ReadError(f"a header is broken: {error}") from error
        finally:
            if is_outermost:
                tar.is_inside_header = False

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type == tarfile.GNUTYPE_SPARSE:
            self._refuse_sparse()
        is_extended_header = not (self.isreg() or self.isdir() or self.issym())
        if is_extended_header and self.size > _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header has {self.size} bytes")
        return cast("tarfile.TarInfo", super()._proc_member(archive))  # type: ignore[misc]

    def _refuse_sparse(self, *_: object) -> None:
        """Refuse a sparse file before tarfile reads the list of its holes, which has no bound."""
        raise tarfile.ReadError(f"{self.name!r} is neither a file nor a folder: it is sparse")

    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse_sparse


_BAD_NAME = {errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL}


def _make_parents(folder: Path, path: PurePosixPath) -> None:
    at = folder
    for part in path.parts[:-1]:
        at = at / part
        if at.is_symlink():
            raise InvalidKata(f"{path} is behind a link")
        at.mkdir(exist_ok=True)


def _make_folder(target: Path) -> None:
    """Make a folder if there is none; refuse a link, or files would be written to its target."""
    if target.is_symlink():
        raise FileExistsError(target)
    target.mkdir(exist_ok=True)


def _modified_ns(member: tarfile.TarInfo) -> int:
    """Return a member's modification time, in nanoseconds, as exactly as the header has it."""
    try:
        exact = int(Decimal(member.pax_headers.get("mtime", int(member.mtime))) * 10**9)
    except (InvalidOperation, ValueError, OverflowError) as error:
        raise InvalidKata(f"{member.name!r} has no proper time") from error
    return max(0, min(exact, 2**62))


class _DigestingReader:
    """Reads a file and digests it: `before` is the digest up to the current member's header."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = cast("io.BufferedReader", source)
        self._buffer = b""
        self._read_bytes = 0  # of the buffer, by the caller
        self._digested_bytes = 0  # of the buffer
        self._digest = sha256()
        self.before = sha256()
        self.is_restarting = False

    def read(self, size: int) -> bytes:
        """Read `size` bytes, fewer only at the end of the file."""
        content = self._buffer[self._read_bytes : self._read_bytes + size]
        self._read_bytes += len(content)
        while len(content) < size:
            self._digest_read()
            # read1: the sender may wait for an answer to what it sent, before it sends more.
            self._buffer = self._source.read1(_READ_BYTES)
            self._read_bytes = self._digested_bytes = 0
            if not self._buffer:
                break
            more = self._buffer[: size - len(content)]
            self._read_bytes = len(more)
            content += more
        return content

    def at_header(self) -> None:
        """Set `before`: the next byte begins a member's header."""
        self._digest_read()
        if self.is_restarting:
            self._digest = sha256()
            self.is_restarting = False
        self.before = self._digest.copy()

    def _digest_read(self) -> None:
        with memoryview(self._buffer) as buffer:
            self._digest.update(buffer[self._digested_bytes : self._read_bytes])
        self._digested_bytes = self._read_bytes


class _PiecesReader(io.RawIOBase):
    """Pieces of bytes, as a file to read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def _with_whole_magic(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the same bytes, with a first piece that is long enough to tell the compression.

    Later pieces are not joined: a sender that breaks off has sent all pieces before.
    """
    first = b""
    for piece in pieces:
        first += piece
        if len(first) >= _MAGIC_BYTES:
            break
    yield first
    yield from pieces


def _decompress(reader: _PiecesReader) -> IO[bytes]:
    """Return the tar's bytes, decompressed if the first bytes are those of gzip or zstd."""
    buffered = io.BufferedReader(reader, 1024**2)
    magic = buffered.peek(_MAGIC_BYTES)[:_MAGIC_BYTES]
    if magic.startswith(_GZIP_MAGIC):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=buffered))
    if magic == _ZSTD_MAGIC:
        # zstandard accepts a truncated last frame. With an empty frame behind, the truncated frame
        # is an error.
        pieces = chain(iter(lambda: buffered.read1(1024**2), b""), [_EMPTY_FRAME])
        decompressor = zstandard.ZstdDecompressor(max_window_size=2**27)
        followed = cast("IO[bytes]", _PiecesReader(pieces))
        return cast("IO[bytes]", decompressor.stream_reader(followed, read_across_frames=True))
    return cast("IO[bytes]", buffered)
