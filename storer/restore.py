"""A kata from a tar, as `storer.download` gives them. The tar is not to be trusted."""

import errno
import gzip
import io
import os
import stat
import tarfile
import zlib
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import IO, Self, cast

import zstandard

from dojo import kata_ids
from dojo.chunks import rechunk
from dojo.errors import InvalidArgument
from storer import copying
from storer.katas import Katas

MAX_BYTES = 8 * 1024**3  # what a tar may unpack to, against one that is nothing but zeros
MAX_MEMBERS = 1_000_000
_MAX_HEADER_BYTES = 1024**2
_MAX_END_BYTES = 16 * 1024**2  # tars are filled up with zeros, to a size that is seldom large
_MAX_OUTER = 3  # what can come before the kata's folder: `.` and `49`

_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_EMPTY_FRAME = zstandard.ZstdCompressor().compress(b"")


def restore(katas: Katas, pieces: Iterator[bytes], *, overwrite: bool) -> tuple[str, list[str]]:
    """Make a kata from the tar whose bytes are `pieces`; return its id and its avatars.

    `pieces` has to raise if they do not come to their proper end: nothing is restored then.
    Raises InvalidArgument, AlreadyExists or KataDamaged.
    """
    with _refusing():
        tar = _Tar(_decompress(_Reader(rechunk(pieces))))  # the first tells the compression
        kata_id = tar.kata_id()

    def fill(folder: Path) -> None:
        with _refusing():
            tar.unpack(folder)

    return kata_id, katas.restore(kata_id, fill, overwrite=overwrite)


class _refusing:  # noqa: N801 - it is used as a statement
    """Turn what the libraries say of a broken tar into InvalidArgument."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(
            error, tarfile.TarError | gzip.BadGzipFile | EOFError | zlib.error | zstandard.ZstdError
        ):
            raise InvalidArgument("data", f"is not a whole tar: {error}") from error


class _StrictHeader(tarfile.TarInfo):
    """A member's header that is whole, and whose extensions can't fill the memory."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """Read the next header; raise tarfile.ReadError for what tarfile takes for the end."""
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the end indeed
            raise
        except (tarfile.HeaderError, ValueError, RecursionError) as error:
            raise tarfile.ReadError(f"a header is broken: {error}") from error

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


class _Tar:
    """A tar that is read once, from its beginning to its end."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._archive = tarfile.open(  # noqa: SIM115 - it owns nothing that needs closing
            fileobj=stream,
            mode="r|",
            tarinfo=_StrictHeader,
            errorlevel=2,
        )
        self._members = self._read()
        self._first = next(self._members, None)

    def kata_id(self) -> str:
        """Return the id that the members' names begin with, as the first two say it."""
        for _ in range(_MAX_OUTER):
            if self._first is None or not self._first.isdir() or len(self._parts(self._first)) >= 2:
                break
            self._first = next(self._members, None)
        if self._first is None:
            raise InvalidArgument("data", "the tar holds no kata")
        outer, inner = (*self._parts(self._first), "", "")[:2]
        if len(outer) != len(kata_ids.outer(outer)) or not kata_ids.is_whole(outer + inner):
            reason = f"{self._first.name!r} does not begin with a kata's folder (49/3A06504A)"
            raise InvalidArgument("data", reason)
        return outer + inner

    def unpack(self, folder: Path) -> None:
        """Put the kata's files into `folder`, which is empty, and read the tar to its end."""
        if self._first is None:
            raise InvalidArgument("data", "the tar holds no kata")
        outer, inner = self._parts(self._first)[:2]
        total_bytes = 0
        members = 0
        member: tarfile.TarInfo | None = self._first
        while member is not None:
            parts = self._parts(member)
            total_bytes += member.size
            members += 1
            if total_bytes > MAX_BYTES or members > MAX_MEMBERS:
                reason = f"the tar holds more than {MAX_BYTES} bytes or {MAX_MEMBERS} members"
                raise InvalidArgument("data", reason)
            if len(parts) < 2 or (parts[0], parts[1]) != (outer, inner):
                raise InvalidArgument("data", f"{member.name!r} is outside of {outer}/{inner}")
            if len(parts) > 2 and not any(copying.is_stray(part) for part in parts):
                self._unpack_member(member, folder, PurePosixPath(*parts[2:]))
            member = next(self._members, None)
        self._finish()

    def _finish(self) -> None:
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

    def _read(self) -> Iterator[tarfile.TarInfo]:
        for member in self._archive:
            if member.size < 0:
                raise tarfile.ReadError(f"{member.name!r} has {member.size} bytes")
            yield member
            self._archive.members = []  # type: ignore[attr-defined]  # or it would keep them all

    @staticmethod
    def _parts(member: tarfile.TarInfo) -> tuple[str, ...]:
        name = member.name
        parts = tuple(part for part in name.split("/") if part not in {"", "."})
        if name.startswith("/") or ".." in parts or "\0" in name:
            raise InvalidArgument("data", f"{name!r} leads out of the kata")
        return parts

    def _unpack_member(self, member: tarfile.TarInfo, folder: Path, path: PurePosixPath) -> None:
        """Put one member into `folder`; none of its parents there can be a link."""
        if len(path.parts) > copying.MAX_DEPTH:
            raise InvalidArgument("data", f"{member.name!r} is too deep")
        if path.parts[0].startswith("."):
            raise InvalidArgument("data", f"{member.name!r} has no place in a kata")
        target = folder / path
        try:
            _make_parents(folder, path)
            if member.isdir():
                _make_folder(target)
            elif member.issym():
                if not copying.link_stays_inside(path, member.linkname):
                    reason = f"{member.name!r} is a link to {member.linkname!r}"
                    raise InvalidArgument("data", reason)
                target.symlink_to(member.linkname)
                return
            elif member.isreg() and not member.issparse():
                self._write(member, target)
            else:
                raise InvalidArgument("data", f"{member.name!r} is neither a file nor a folder")
            target.chmod(stat.S_IMODE(member.mode) & 0o777)
            modified = _modified_ns(member)
            os.utime(target, ns=(modified, modified), follow_symlinks=False)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise InvalidArgument("data", f"{member.name!r} is there twice") from error
        except OSError as error:
            if error.errno is not None and error.errno in _BAD_NAME:
                raise InvalidArgument("data", f"{member.name!r}: {error.strerror}") from error
            raise

    def _write(self, member: tarfile.TarInfo, target: Path) -> None:
        content = self._archive.extractfile(member)
        if content is None:
            raise InvalidArgument("data", f"{member.name!r} has no content")
        with target.open("xb") as file:
            while piece := content.read(1024**2):
                file.write(piece)


_BAD_NAME = {errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL}


def _make_parents(folder: Path, path: PurePosixPath) -> None:
    at = folder
    for part in path.parts[:-1]:
        at = at / part
        if at.is_symlink():
            raise InvalidArgument("data", f"{path} is behind a link")
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
        raise InvalidArgument("data", f"{member.name!r} has no proper time") from error
    return max(0, min(exact, 2**62))


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


def _decompress(reader: _Reader) -> IO[bytes]:
    buffered = io.BufferedReader(reader, 1024**2)
    magic = buffered.peek(4)[:4]
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
