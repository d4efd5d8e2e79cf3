"""Reads an untrusted tar, as a stream."""

import errno
import gzip
import io
import os
import stat
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain, count
from pathlib import Path, PurePosixPath
from typing import IO, TypeVar, cast

import zstandard

from dojo import limits, visible_files
from dojo.budget import Budget, BudgetExceeded
from dojo.errors import InvalidArgument
from dojo.pace import Pace
from dojo.shares import Holding
from dojo.turns import Turns
from storer.fs import json_files, tree
from storer.fs.folder_times import FolderTimes
from storer.fs.room import Room, RoomyFile
from storer.tar.members import Member, Reader

_MAX_END_BYTES = 16 * 1024**2  # tar pads a tar with zeros, to a multiple of a small size

_READ_BYTES = 256 * 1024

# All tars that are read have one pace: a header takes Python's lock, and a file of 12 KB can have
# millions of them. So many are paced at once, and what takes as long as they do.
_PACE = Pace(limits.MEMBERS_PER_SECOND)
_PACED_MEMBERS = 64

# One thread at a time reads a member, or makes a file of it. While it waits for its caller or for
# the pace, or decompresses, another one has its turn: a few bytes can be a file of gigabytes.
_TURNS = Turns()

_LINES = 8  # so many lines of a member's content take as long as a member

_MAX_NAMES_LEFT_OUT = 100
_FOLDER_MODE = 0o3777
_APPLE_DOUBLE = b"\x00\x05\x16\x07"

_GZIP_MAGIC = b"\x1f\x8b"
_MAGIC_BYTES = 4
_HEAD_BYTES = 18  # of the longest header of a zstd frame
# What zstd holds to decompress: every decompressor takes the first, `zstd --long` needs the other.
_LEAST_WINDOW_BYTES = 8 * 1024**2
_LARGEST_WINDOW_BYTES = 2**27
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_EMPTY_FRAME = zstandard.ZstdCompressor().compress(b"")


_Line = TypeVar("_Line")


class InvalidKata(InvalidArgument):
    """A kata in a tar is not whole, or holds a member that no kata can have."""

    def __init__(self, reason: str) -> None:
        super().__init__("data", reason)


class translate_tar_errors:  # noqa: N801 - used like a function
    """Raise InvalidArgument for a tar that is broken, or exceeds its budget."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, BudgetExceeded):
            raise InvalidArgument("data", f"holds {error.reason}") from error
        if isinstance(
            error, tarfile.TarError | gzip.BadGzipFile | EOFError | zlib.error | zstandard.ZstdError
        ):
            raise InvalidArgument("data", f"is not a whole tar: {error}") from error


@dataclass(slots=True)
class LeftOut:
    """The members that were left out: how many, and the names of the first, as in messages.

    A link that leads out of its sandbox is left out. A program may make one in its own sandbox, but
    nobody may bring one.
    """

    count: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, member: Member) -> None:
        """Note a member."""
        self.count += 1
        if len(self.names) < _MAX_NAMES_LEFT_OUT:
            self.names.append(member.shown)


class Tar:
    """Reads the members of a tar, compressed or not, in their order; digests what it reads.

    `member` is the current member, None behind the last. `left_out` are those of the current kata
    that were not unpacked.
    """

    def __init__(self, pieces: Iterator[bytes], holding: Holding | None = None) -> None:
        """Read the header of the first member. The first bytes tell the compression.

        What decompressing takes is added to `holding`, if given. Raises MemoryExhausted.
        """
        reader = _PiecesReader(_with_whole_head(pieces))
        self._source = _DigestingReader(_decompress(reader, holding or Holding()))
        self._reader = Reader(self._source, self._take_pace)
        self._room = Room()
        self._times = FolderTimes()
        self._paced_members = 0  # that may be read; below 0, as many have been read too early
        self.left_out = LeftOut()
        self.member: Member | None
        self.advance()

    @property
    def comment(self) -> str:
        """The comment on the tar as a whole, such as `git archive` writes."""
        return self._reader.global_records.get("comment", "")

    def renew_budget(self) -> None:
        """Begin a budget for what follows: a kata's bytes, and its members with their headers.

        Until then, the tar has one budget from its beginning. What exceeds it raises
        BudgetExceeded.
        """
        self._source.budget = _budget()
        self._times = FolderTimes()
        self.left_out = LeftOut()

    def advance(self) -> None:
        """Move to the next member."""
        self._take_pace(1)
        with _TURNS:
            self._reader.skip_content()
            self._source.budget.take_entry()
            self._source.at_header()
            self.member = self._reader.next()

    def digest_before(self) -> str:
        """Return the SHA-256 digest, in hexadecimal, of the bytes before the current member.

        The digest begins behind the member at which `restart_digest` was called.
        """
        return self._source.before.hexdigest()

    def restart_digest(self) -> None:
        """Begin the next digest behind the current member."""
        self._source.is_restarting = True

    def parts(self) -> tuple[str, ...]:
        """Return the parts of the current member's name; raise InvalidKata if it leads out."""
        if self.member is None:
            return ()
        name = self.member.name
        parts = tuple(part for part in name.split("/") if part not in {"", "."})
        if name.startswith("/") or ".." in parts:
            raise InvalidKata(f"{self.member.shown} leads out of the kata")
        if "\0" in name:
            raise InvalidKata(f"{self.member.shown} has a zero byte in its name")
        return parts

    def unpack(self, folder: Path, path: PurePosixPath) -> None:
        """Extract the current member to `path` in `folder`; refuse a path through a link.

        Raises DiskFull while some of the disk is still free for others.
        """
        member = self.member
        in_sandbox = tree.is_in_sandbox(path)
        if member is None or (not in_sandbox and any(map(tree.is_stray, path.parts))):
            return
        if len(path.parts) > tree.MAX_DEPTH:
            raise InvalidKata(f"{member.shown} is too deep")
        if path.parts[0].startswith("."):
            raise InvalidKata(f"{member.shown} has no place in a kata")
        if not in_sandbox and not json_files.is_text(member.name):
            raise InvalidKata(f"{member.shown} has a name that is not UTF-8")
        self._room.take(folder)
        try:
            with _TURNS:
                self._times.leave(str(folder / path))
                _make_parents(folder, path)
                self._make(member, folder, path)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise InvalidKata(f"{member.shown} is there twice") from error
        except OSError as error:
            if error.errno is not None and error.errno in _BAD_NAME:
                raise InvalidKata(f"{member.shown}: {error.strerror}") from error
            raise

    def finish_kata(self) -> None:
        """Complete the folder that the last members were unpacked to."""
        self._times.leave()

    def content(self) -> IO[bytes]:
        """Return the content of the current member, to be read before `advance`."""
        if self.member is None or not self.member.isreg():
            raise InvalidKata("a member has no content")
        return self._reader.content()

    def in_turns(self, lines: Iterator[_Line]) -> Iterator[_Line]:
        """Yield what `lines` reads from the content of the current member, each in a turn."""
        for number in count():
            if number % _LINES == 0:
                self._take_pace(1)
            with _TURNS:
                line = next(lines, None)
            if line is None:
                return
            yield line

    def finish(self) -> None:
        """Read to the end; raise tarfile.ReadError if the tar's end is missing or not the end.

        A tar ends with two or more blocks of zeros, of which one was read.
        """
        read_bytes = 0
        while piece := self._source.read(_READ_BYTES):
            read_bytes += len(piece)
            if piece.count(0) != len(piece) or read_bytes > _MAX_END_BYTES:
                raise tarfile.ReadError("something comes after its end")
        if read_bytes < tarfile.BLOCKSIZE:
            raise tarfile.ReadError("its end is missing")

    def _take_pace(self, members: int) -> None:
        """Wait for the pace of so many members. Others have their turns meanwhile."""
        self._paced_members -= members
        if self._paced_members >= 0:
            return
        with _TURNS.given_up():
            while self._paced_members < 0:
                _PACE.take(_PACED_MEMBERS)
                self._paced_members += _PACED_MEMBERS

    def _make(self, member: Member, folder: Path, path: PurePosixPath) -> None:
        target = folder / path
        if member.issym():
            self._make_link(member, target, path)
            return
        mode = stat.S_IMODE(member.mode) & 0o777
        if member.isdir():
            _make_folder(target)
            self._times.enter(str(target), member.modified_ns)
            mode = stat.S_IMODE(member.mode) & _FOLDER_MODE
        elif member.isreg():
            if member.sparse_size is not None and not tree.is_in_sandbox(path):
                raise InvalidKata(f"{member.shown} is sparse, outside of a sandbox")
            with target.open("xb") as file:
                self._reader.copy_content(member, RoomyFile(file, folder, self._room))
        else:
            raise InvalidKata(f"{member.shown} is neither a file nor a folder")
        target.chmod(mode)
        os.utime(target, ns=(member.modified_ns, member.modified_ns), follow_symlinks=False)
        if _is_apple_double(target):
            target.unlink()

    def _make_link(self, member: Member, target: Path, path: PurePosixPath) -> None:
        to = member.target
        if "\0" in to or not to or not tree.is_in_sandbox(path):
            raise InvalidKata(f"{member.shown} is a link to {visible_files.shown(to)}")
        if not tree.link_stays_inside(path, to):
            self.left_out.add(member)
            return
        target.symlink_to(to)
        os.utime(target, ns=(member.modified_ns, member.modified_ns), follow_symlinks=False)


def _is_apple_double(path: Path) -> bool:
    """Return whether a file is what tar on a Mac makes beside a file (`._hiker.c`).

    The format: https://www.rfc-editor.org/rfc/rfc1740, appendix B.
    """
    if not path.name.startswith("._") or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_APPLE_DOUBLE)) == _APPLE_DOUBLE


def _budget() -> Budget:
    """Return the budget of one kata, twice: the rest of a kata that is too large is skipped."""
    return Budget(max_bytes=2 * limits.MAX_KATA_BYTES, max_entries=2 * limits.MAX_KATA_MEMBERS)


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


class _DigestingReader:
    """Reads a file and digests it: `before` is the digest up to the current member's header."""

    def __init__(self, source: IO[bytes]) -> None:
        self.budget = _budget()
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
            with _TURNS.given_up():
                # read1: the sender may wait for an answer to what it sent, before it sends more.
                self._buffer = self._source.read1(_READ_BYTES)
            self.budget.take_bytes(len(self._buffer))
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


def _with_whole_head(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the same bytes, with a first piece that is long enough to tell the compression.

    Later pieces are not joined: a sender that breaks off has sent all pieces before.
    """
    first = b""
    for piece in pieces:
        first += piece
        if len(first) >= _HEAD_BYTES:
            break
    yield first
    yield from pieces


def _decompress(reader: _PiecesReader, holding: Holding) -> IO[bytes]:
    """Return the tar's bytes, decompressed if the first bytes are those of gzip or zstd."""
    buffered = io.BufferedReader(reader, 1024**2)
    magic = buffered.peek(_MAGIC_BYTES)[:_MAGIC_BYTES]
    if magic.startswith(_GZIP_MAGIC):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=buffered))
    if magic == _ZSTD_MAGIC:
        # zstandard accepts a truncated last frame. With an empty frame behind, the truncated frame
        # is an error.
        pieces = chain(iter(lambda: buffered.read1(1024**2), b""), [_EMPTY_FRAME])
        head = buffered.peek(_HEAD_BYTES)[:_HEAD_BYTES]
        window_bytes = max(_LEAST_WINDOW_BYTES, zstandard.get_frame_parameters(head).window_size)
        if window_bytes > _LARGEST_WINDOW_BYTES:
            raise zstandard.ZstdError(f"its window has {window_bytes} bytes, too many")
        holding.add(window_bytes)
        decompressor = zstandard.ZstdDecompressor(max_window_size=window_bytes)
        followed = cast("IO[bytes]", _PiecesReader(pieces))
        return cast("IO[bytes]", decompressor.stream_reader(followed, read_across_frames=True))
    return cast("IO[bytes]", buffered)
