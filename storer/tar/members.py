"""Reads the members of a tar: ustar and pax headers, GNU's long names, and sparse files (pax 1.0).

A header is checked before what it announces is read, and nothing is skipped that is not there.

The formats: https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html, and for sparse
files https://www.gnu.org/software/tar/manual/html_node/Sparse-Formats.html.
"""

import io
import re
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, Protocol

from dojo import limits, visible_files

_BLOCK = tarfile.BLOCKSIZE
_READ_BYTES = 256 * 1024
_PAX = {tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE}
_GNU_NAMES = {tarfile.GNUTYPE_LONGNAME: "path", tarfile.GNUTYPE_LONGLINK: "linkpath"}
# Of these kinds, a header's size says nothing: no content follows.
_WITHOUT_CONTENT = {
    *(tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE),
    *(tarfile.DIRTYPE, tarfile.FIFOTYPE),
}
_FILES = {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE}

_RECORD = re.compile(rb"(\d{1,7}) ([^=]+)=")
_WHOLE = re.compile(r"-?\d{1,20}")
_TIME = re.compile(r"(-?)(\d{1,20})(?:\.(\d*))?")
_SPARSE_KEYS = {"GNU.sparse.major", "GNU.sparse.size", "GNU.sparse.map"}
_KNOWN = {
    *("path", "linkpath", "size", "mtime", "uid", "gid", "comment"),
    *_SPARSE_KEYS,
    *("GNU.sparse.minor", "GNU.sparse.name", "GNU.sparse.realsize"),
}
# So many pieces of a sparse file take as long as a member.
_PIECES = 8

_MAX_MODE = 0o177777  # with the bits for the kind of file, which some programs write
_MAX_ID = 2**32 - 1
_MAX_SIZE = 2**63 - 1
_MAX_NS = 2**63 - 1


class Source(Protocol):
    """A stream of bytes whose `read` returns fewer bytes than asked for only at its end."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes."""


class Target(Protocol):
    """A new file that a member's content is written to."""

    def write(self, content: bytes, /) -> object:
        """Write at the current place."""

    def seek(self, at: int, /) -> object:
        """Set the current place."""

    def truncate(self, size: int, /) -> object:
        """Set the size."""


class Member(NamedTuple):
    """A member's header. `size` is the number of bytes that follow in the tar.

    `sparse_size` is the size of a sparse file with its holes, None for any other member.
    """

    name: str
    kind: bytes
    mode: int
    owner: int
    group: int
    size: int
    modified_ns: int
    target: str
    sparse_size: int | None

    def isdir(self) -> bool:
        """Return whether this is a folder."""
        return self.kind == tarfile.DIRTYPE

    def issym(self) -> bool:
        """Return whether this is a symbolic link."""
        return self.kind == tarfile.SYMTYPE

    def isreg(self) -> bool:
        """Return whether this is a file, sparse or not."""
        return self.kind in _FILES

    @property
    def shown(self) -> str:
        """The name, in a form that is safe and short enough for an error message."""
        return visible_files.shown(self.name)


@dataclass(slots=True)
class Reader:
    """Reads one member after another: `next`, then its `content` or `skip_content`.

    Every method raises tarfile.ReadError if the tar is cut off or is not as a tar has to be.
    `worked` is told what took long besides members: as long as so many of them.
    """

    source: Source
    worked: Callable[[int], None] = lambda _: None
    global_records: dict[str, str] = field(default_factory=dict)
    _left: int = 0  # of the current member's content
    _padding: int = 0

    def next(self) -> Member | None:
        """Skip what is left of the current member, and read the next header; None at the end.

        At the end, the first of the two or more blocks of zeros was read.
        """
        self.skip_content()
        records: dict[str, str] = {}
        is_extended = False
        allowed = limits.MAX_TAR_HEADER_BYTES  # for all extended headers of one member
        allowed_records = limits.MAX_TAR_RECORDS
        while (block := read_exactly(self.source, _BLOCK)).count(0) != _BLOCK:
            _check(block)
            kind = block[156:157]
            if kind not in _PAX and kind not in _GNU_NAMES:
                if self.global_records:
                    records = {**self.global_records, **records}
                return self._member(block, kind, records)
            size = _number(block[124:136], "size", 0, _MAX_SIZE)
            is_extended = is_extended or kind != tarfile.XGLTYPE
            is_first = allowed == limits.MAX_TAR_HEADER_BYTES
            allowed -= size + _BLOCK
            if allowed < 0:
                raise tarfile.ReadError(f"a header has {size} bytes, more than it may have")
            content = read_exactly(self.source, size)
            read_exactly(self.source, -size % _BLOCK)
            if kind in _GNU_NAMES:
                records[_GNU_NAMES[kind]] = _text(content.partition(b"\0")[0])
                allowed_records -= 1
            else:
                count = _read_records(
                    content,
                    self.global_records if kind == tarfile.XGLTYPE else records,
                    allowed_records,
                )
                allowed_records -= max(count, 1)
            if allowed_records < 0:
                raise tarfile.ReadError(
                    f"a member has more than {limits.MAX_TAR_RECORDS} records in its headers"
                )
            self.worked(size // _BLOCK + (0 if is_first else 1))
        if is_extended:
            raise tarfile.ReadError("a member is missing behind its extended header")
        return None

    def read_content(self, size: int) -> bytes:
        """Return at most `size` of the next bytes of the current member's content."""
        content = read_exactly(self.source, min(size, self._left, _READ_BYTES))
        self._left -= len(content)
        return content

    def content(self) -> io.BufferedReader:
        """Return the rest of the current member's content as a file, to be read before `next`."""
        return io.BufferedReader(_Content(self))

    def copy_content(self, member: Member, file: Target) -> None:
        """Write the content of the current member, a file, into a new file; holes stay holes."""
        if member.sparse_size is None:
            while piece := self.read_content(_READ_BYTES):
                file.write(piece)
            return
        for number, (at, size) in enumerate(self._extents(member, member.sparse_size), 1):
            if number % _PIECES == 0:
                self.worked(1)
            file.seek(at)
            end = self._left - size
            while self._left > end:
                file.write(self.read_content(self._left - end))
        file.truncate(member.sparse_size)

    def _extents(self, member: Member, sparse_size: int) -> list[tuple[int, int]]:
        """Read the map of a sparse file: the place and size of each piece of data, in order.

        What follows in the content are these pieces, one behind the other.
        """
        lines = _Lines(self)
        count = lines.number()
        if count > limits.MAX_EXTENTS:
            raise tarfile.ReadError(
                f"{member.shown} has {count} pieces, more than {limits.MAX_EXTENTS}"
            )
        found: list[tuple[int, int]] = []
        end = 0
        for number in range(1, count + 1):
            if number % _PIECES == 0:
                self.worked(1)
            at, size = lines.number(), lines.number()
            if at < end or at + size > sparse_size:
                raise tarfile.ReadError(f"{member.shown} has a piece out of its place")
            end = at + size
            found.append((at, size))
        if sum(size for _, size in found) != self._left:
            raise tarfile.ReadError(f"{member.shown} is not as large as its pieces")
        return found

    def skip_content(self) -> None:
        """Read to the end of the current member."""
        while self._left:
            self.read_content(_READ_BYTES)
        read_exactly(self.source, self._padding)
        self._padding = 0

    def _member(self, block: bytes, kind: bytes, records: dict[str, str]) -> Member:
        name = _text(_until_nul(block[:100]))
        prefix = _text(_until_nul(block[345:500])) if block[345] else ""
        if kind == tarfile.GNUTYPE_SPARSE:  # more headers can follow, of which there is no end
            raise tarfile.ReadError(f"{visible_files.shown(name)} is sparse in a form of old")
        if prefix and block[257:263] == b"ustar\0":
            name = f"{prefix}/{name}"
        name = records.get("path", name)
        if kind == tarfile.AREGTYPE and name.endswith("/"):
            kind = tarfile.DIRTYPE
        stated = _number(block[124:136], "size", 0, _MAX_SIZE)
        size = _record(records, "size", stated, 0, _MAX_SIZE)
        self._left = 0 if kind in _WITHOUT_CONTENT else size
        self._padding = -self._left % _BLOCK
        sparse_size = None
        if records and not _SPARSE_KEYS.isdisjoint(records):
            name = records.get("GNU.sparse.name", name)
            sparse_size = _sparse_size(name, kind, records)
        return Member(
            name=name.rstrip("/") or name[:1],
            kind=kind,
            mode=_number(block[100:108], "mode", 0, _MAX_MODE),
            owner=_record(records, "uid", _number(block[108:116], "uid", 0, _MAX_ID), 0, _MAX_ID),
            group=_record(records, "gid", _number(block[116:124], "gid", 0, _MAX_ID), 0, _MAX_ID),
            size=self._left,
            modified_ns=_modified_ns(block, records),
            target=records.get("linkpath", _text(_until_nul(block[157:257]))),
            sparse_size=sparse_size,
        )


class _Content(io.RawIOBase):
    """The rest of a member's content."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        content = self._reader.read_content(len(buffer))
        buffer[: len(content)] = content
        return len(content)


class _Lines:
    """The numbers of a sparse file's map, each a line; the map ends with its last block."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._block = io.BytesIO()

    def number(self) -> int:
        """Return the next number."""
        line = self._block.readline()
        if not line.endswith(b"\n"):
            self._block = io.BytesIO(self._reader.read_content(_BLOCK))
            line += self._block.readline()
        digits = line[:-1]
        if not (line.endswith(b"\n") and digits.isdigit() and len(digits) <= 20):
            raise tarfile.ReadError("the map of a sparse file is broken")
        return int(digits)


def read_exactly(source: Source, size: int) -> bytes:
    """Return the next bytes; raise tarfile.ReadError if there are fewer. For small sizes."""
    content = source.read(size) if size else b""
    if len(content) != size:
        raise tarfile.ReadError("it is cut off")
    return content


def _check(block: bytes) -> None:
    """Check a header's sum, in which the sum itself counts as spaces."""
    try:
        stated = int(block[148:156].strip(b"\0 ") or b"0", 8)
    except ValueError:
        stated = -1
    # Most bytes are zeros: without them, the sum takes a fifth of the time.
    summed = block.translate(None, b"\0")
    unsigned = sum(summed) - sum(block[148:156]) + 8 * ord(" ")
    if stated == unsigned:
        return
    signed = unsigned - 256 * sum(byte > 127 for byte in block[:148] + block[156:])
    if stated != signed:  # as some programs count
        raise tarfile.ReadError("a header is broken: bad checksum")


# Modes, owners and most times are the same from member to member.
@lru_cache(maxsize=1024)
def _number(content: bytes, what: str, least: int, most: int) -> int:
    """Return a number in octal or, as GNU tar has it, in base 256."""
    try:
        if content[0] in {0o200, 0o377}:
            value = int.from_bytes(content[1:], "big", signed=False)
            value -= 256 ** (len(content) - 1) if content[0] == 0o377 else 0
        else:
            value = int(_until_nul(content).strip(b" ") or b"0", 8)
    except ValueError:
        raise tarfile.ReadError(f"a header is broken: its {what} is no number") from None
    return _bounded(value, what, least, most)


def _record(records: dict[str, str], key: str, otherwise: int, least: int, most: int) -> int:
    """Return a number of an extended header, or `otherwise` if the header does not have it."""
    text = records.get(key)
    if text is None:
        return otherwise
    if not _WHOLE.fullmatch(text):
        raise tarfile.ReadError(f"a header is broken: its {key} is no number")
    return _bounded(int(text), key, least, most)


def _bounded(value: int, what: str, least: int, most: int) -> int:
    if not least <= value <= most:
        raise tarfile.ReadError(f"a header's {what} is {value}, not from {least} to {most}")
    return value


def _sparse_size(name: str, kind: bytes, records: dict[str, str]) -> int:
    is_known = records.get("GNU.sparse.major") == "1" and records.get("GNU.sparse.minor") == "0"
    if not is_known or kind not in _FILES or "GNU.sparse.realsize" not in records:
        raise tarfile.ReadError(f"{visible_files.shown(name)} is sparse in a form of old")
    return _record(records, "GNU.sparse.realsize", 0, 0, limits.MAX_SPARSE_FILE_BYTES)


def _modified_ns(block: bytes, records: dict[str, str]) -> int:
    """Return the time in nanoseconds, the nearest that a file can have."""
    text = records.get("mtime")
    if text is None:
        seconds = _number(block[136:148], "time", -_MAX_SIZE, _MAX_SIZE)
        nanoseconds = seconds * 10**9
    else:
        match = _TIME.fullmatch(text)
        if match is None:
            raise tarfile.ReadError(f"a header has no proper time: {visible_files.shown(text)}")
        sign, whole, part = match.groups(default="")
        nanoseconds = int(whole) * 10**9 + int(part[:9].ljust(9, "0"))
        nanoseconds *= -1 if sign else 1
    return max(-_MAX_NS, min(nanoseconds, _MAX_NS))


def _read_records(content: bytes, found: dict[str, str], most: int) -> int:
    """Add to `found` those records of a pax header that have a meaning here (`length key=value`).

    Returns how many there are; stops behind `most`.
    """
    at = count = 0
    while match := _RECORD.match(content, at):
        end = at + int(match[1])
        if end <= match.end() or content[end - 1 : end] != b"\n":
            break
        count += 1
        if count > most:
            return count
        key = _text(match[2])
        if key in _KNOWN:
            found[key] = _text(content[match.end() : end - 1])
        at = end
    if content[at:].strip(b"\0"):
        raise tarfile.ReadError("a header is broken: its records are not as long as they say")
    return count


def _until_nul(padded: bytes) -> bytes:
    return padded.partition(b"\0")[0]


def _text(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")
