"""Reading a tar that is not to be trusted, once, from its beginning to its end."""

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
_MAX_END_BYTES = 16 * 1024**2  # tars are filled up with zeros, to a size that is seldom large

_READ_BYTES = 256 * 1024

_GZIP_MAGIC = b"\x1f\x8b"
_MAGIC_BYTES = 4
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_EMPTY_FRAME = zstandard.ZstdCompressor().compress(b"")


class Unfit(InvalidArgument):
    """A kata in a tar is not whole, or holds what a kata can't; the reason says what."""

    def __init__(self, reason: str) -> None:
        super().__init__("data", reason)


class refusing:  # noqa: N801 - it is used as a statement
    """Turn what the libraries say of a broken tar into InvalidArgument."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(
            error, tarfile.TarError | gzip.BadGzipFile | EOFError | zlib.error | zstandard.ZstdError
        ):
            raise InvalidArgument("data", f"is not a whole tar: {error}") from error


class Tar:
    """A tar, compressed or not: its members one after another, and the digest of what is read.

    `member` is the one at hand, None behind the last.
    """

    def __init__(self, pieces: Iterator[bytes]) -> None:
        """Read the first member. The first bytes tell the compression."""
        self._read = _Digesting(_decompress(_Reader(_begun(pieces))))
        self._archive = _Archive.open(
            fileobj=cast("IO[bytes]", self._read),
            mode="r|",
            bufsize=tarfile.BLOCKSIZE,  # nothing of the next member is read with this one
            tarinfo=_StrictHeader,
            errorlevel=2,
        )
        self._members = self._iterate()
        self.member = next(self._members, None)

    @property
    def comment(self) -> str:
        """What the tar says of itself as a whole, as git's archives do."""
        return self._archive.pax_headers.get("comment", "")

    def advance(self) -> None:
        """Go on to the next member."""
        self.member = next(self._members, None)

    def digest_before(self) -> str:
        """Return the SHA-256 digest, in hexadecimal, of all bytes between two members.

        From behind the member that `restart_digest` was called at, to the one at hand.
        """
        return self._read.before.hexdigest()

    def restart_digest(self) -> None:
        """Let the next digest begin behind the member at hand."""
        self._read.is_restarting = True

    def parts(self) -> tuple[str, ...]:
        """Return the name of the member at hand; raise Unfit if it leads elsewhere."""
        if self.member is None:
            return ()
        name = self.member.name
        parts = tuple(part for part in name.split("/") if part not in {"", "."})
        if name.startswith("/") or ".." in parts or "\0" in name:
            raise Unfit(f"{name!r} leads out of the kata")
        return parts

    def unpack(self, folder: Path, path: PurePosixPath) -> None:
        """Put the member at hand into `folder`; none of its parents there can be a link."""
        member = self.member
        if member is None or any(tree.is_stray(part) for part in path.parts):
            return
        if len(path.parts) > tree.MAX_DEPTH:
            raise Unfit(f"{member.name!r} is too deep")
        if path.parts[0].startswith("."):
            raise Unfit(f"{member.name!r} has no place in a kata")
        try:
            _make_parents(folder, path)
            self._make(member, folder, path)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise Unfit(f"{member.name!r} is there twice") from error
        except OSError as error:
            if error.errno is not None and error.errno in _BAD_NAME:
                raise Unfit(f"{member.name!r}: {error.strerror}") from error
            raise

    def content(self) -> IO[bytes]:
        """Return the content of the member at hand, to be read before it advances."""
        found = self._archive.extractfile(self.member) if self.member else None
        if found is None:
            raise Unfit("a member has no content")
        return found

    def finish(self) -> None:
        """Read to the end; raise tarfile.ReadError if that isn't a tar's end.

        A tar ends with two blocks of zeros, of which one was read, and maybe some more.
        """
        stream = cast("IO[bytes]", self._archive.fileobj)
        came_bytes = 0
        while piece := stream.read(1024**2):
            came_bytes += len(piece)
            if piece.count(0) != len(piece) or came_bytes > _MAX_END_BYTES:
                raise tarfile.ReadError("something comes after its end")
        if came_bytes < tarfile.BLOCKSIZE:
            raise tarfile.ReadError("its end is missing")

    def _iterate(self) -> Iterator[tarfile.TarInfo]:
        for member in self._archive:
            if member.size < 0:
                raise tarfile.ReadError(f"{member.name!r} has {member.size} bytes")
            yield member
            self._archive.members = []  # or it would keep them all

    def _make(self, member: tarfile.TarInfo, folder: Path, path: PurePosixPath) -> None:
        target = folder / path
        if member.isdir():
            _make_folder(target)
        elif member.issym():
            if not tree.link_stays_inside(path, member.linkname):
                raise Unfit(f"{member.name!r} is a link to {member.linkname!r}")
            target.symlink_to(member.linkname)
            return
        elif member.isreg() and not member.issparse():
            self._write(target)
        else:
            raise Unfit(f"{member.name!r} is neither a file nor a folder")
        target.chmod(stat.S_IMODE(member.mode) & 0o777)
        modified = _modified_ns(member)
        os.utime(target, ns=(modified, modified), follow_symlinks=False)

    def _write(self, target: Path) -> None:
        content = self.content()
        with target.open("xb") as file:
            while piece := content.read(1024**2):
                file.write(piece)


class _Archive(tarfile.TarFile):
    """A tar that knows whether a header is read, or another that extends it."""

    is_inside_header = False
    members: list[tarfile.TarInfo]


class _StrictHeader(tarfile.TarInfo):
    """A member's header that is whole, and whose extensions can't fill the memory."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """Read the next header; raise tarfile.ReadError for what tarfile takes for the end."""
        mine = cast("_Archive", archive)
        is_outermost = not mine.is_inside_header
        try:
            if is_outermost:
                mine.is_inside_header = True
                cast("Any", mine.fileobj).fileobj.at_header()
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the end indeed
            raise
        except (tarfile.HeaderError, ValueError, RecursionError) as error:
            raise tarfile.ReadError(f"a header is broken: {error}") from error
        finally:
            if is_outermost:
                mine.is_inside_header = False

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type == tarfile.GNUTYPE_SPARSE:
            self._refuse_sparse()
        extension = not (self.isreg() or self.isdir() or self.issym())
        if extension and self.size > _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header has {self.size} bytes")
        return cast("tarfile.TarInfo", super()._proc_member(archive))  # type: ignore[misc]

    def _refuse_sparse(self, *_: object) -> None:
        """Refuse a file with holes before the list of them, which has no bound, is read."""
        raise tarfile.ReadError(f"{self.name!r} is neither a file nor a folder: it is sparse")

    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse_sparse


_BAD_NAME = {errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL}


def _make_parents(folder: Path, path: PurePosixPath) -> None:
    at = folder
    for part in path.parts[:-1]:
        at = at / part
        if at.is_symlink():
            raise Unfit(f"{path} is behind a link")
        at.mkdir(exist_ok=True)


def _make_folder(target: Path) -> None:
    """Make a folder if there is none. A link to a folder is none: it would be written through."""
    if target.is_symlink():
        raise FileExistsError(target)
    target.mkdir(exist_ok=True)


def _modified_ns(member: tarfile.TarInfo) -> int:
    """Return when a member was modified, in nanoseconds, as exactly as it says."""
    try:
        exact = int(Decimal(member.pax_headers.get("mtime", int(member.mtime))) * 10**9)
    except (InvalidOperation, ValueError, OverflowError) as error:
        raise Unfit(f"{member.name!r} has no proper time") from error
    return max(0, min(exact, 2**62))


class _Digesting:
    """A file that digests what is read of it: `before` is the digest at the header at hand."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = cast("io.BufferedReader", source)
        self._came = b""
        self._read_bytes = 0
        self._digested_bytes = 0
        self._digest = sha256()
        self.before = sha256()
        self.is_restarting = False

    def read(self, size: int) -> bytes:
        """Read so many bytes; fewer at the end alone."""
        found = self._came[self._read_bytes : self._read_bytes + size]
        self._read_bytes += len(found)
        while len(found) < size:
            self._take_in()
            # What has come and no more: who sends may wait for an answer to what was sent.
            self._came = self._source.read1(_READ_BYTES)
            self._read_bytes = self._digested_bytes = 0
            if not self._came:
                break
            more = self._came[: size - len(found)]
            self._read_bytes = len(more)
            found += more
        return found

    def at_header(self) -> None:
        """Take note that the next byte begins a header."""
        self._take_in()
        if self.is_restarting:
            self._digest = sha256()
            self.is_restarting = False
        self.before = self._digest.copy()

    def _take_in(self) -> None:
        with memoryview(self._came) as came:
            self._digest.update(came[self._digested_bytes : self._read_bytes])
        self._digested_bytes = self._read_bytes


class _Reader(io.RawIOBase):
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


def _begun(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the same bytes, the first piece long enough to tell the compression.

    All others as they come: who breaks off has sent what came before.
    """
    first = b""
    for piece in pieces:
        first += piece
        if len(first) >= _MAGIC_BYTES:
            break
    yield first
    yield from pieces


def _decompress(reader: _Reader) -> IO[bytes]:
    buffered = io.BufferedReader(reader, 1024**2)
    magic = buffered.peek(_MAGIC_BYTES)[:_MAGIC_BYTES]
    if magic.startswith(_GZIP_MAGIC):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=buffered))
    if magic == _ZSTD_MAGIC:
        # zstandard takes a frame that is cut off for the end. With another frame behind it, it
        # doesn't.
        pieces = chain(iter(lambda: buffered.read1(1024**2), b""), [_EMPTY_FRAME])
        decompressor = zstandard.ZstdDecompressor(max_window_size=2**27)
        followed = cast("IO[bytes]", _Reader(pieces))
        return cast("IO[bytes]", decompressor.stream_reader(followed, read_across_frames=True))
    return cast("IO[bytes]", buffered)
