"""A small writer of tars, which writes wrong ones too, and mutations of tars.

The format: https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html.
"""

import gzip
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import zstandard
from hypothesis import strategies as st

from support.fuzz import strengths

BLOCK = 512

# Where the fields of a header are: offset and size.
FIELDS = {
    "name": (0, 100),
    "mode": (100, 8),
    "uid": (108, 8),
    "gid": (116, 8),
    "size": (124, 12),
    "mtime": (136, 12),
    "checksum": (148, 8),
    "kind": (156, 1),
    "link": (157, 100),
    "magic": (257, 8),
}

FILE, LINK, SYMLINK, FOLDER, PAX, SPARSE = b"0", b"1", b"2", b"5", b"x", b"S"


@dataclass(frozen=True)
class Member:
    """A member of a tar. `fields` are raw bytes in the place of what its header should have."""

    name: str
    content: bytes = b""
    kind: bytes = FILE
    link: str = ""
    fields: Mapping[str, bytes] = field(default_factory=dict)
    pax: Sequence[tuple[bytes, bytes]] = ()

    def to_bytes(self) -> bytes:
        """Return the member's headers and content."""
        extended = b""
        name = self.name.encode("utf-8", "surrogateescape")
        records = [*([(b"path", name)] if len(name) > 100 else []), *self.pax]
        if records:
            text = b"".join(_record(key, value) for key, value in records)
            extended = _header(b"pax", PAX, len(text), b"", {}) + _padded(text)
        link = self.link.encode("utf-8", "surrogateescape")
        header = _header(name[:100], self.kind, len(self.content), link, self.fields)
        return extended + header + _padded(self.content)


def sparse(name: str, size: int, numbers: Sequence[int], data: bytes) -> Member:
    """Return a sparse file of this size (pax 1.0), with a map of these numbers before its data."""
    text = b"".join(b"%d\n" % number for number in numbers)
    records = {"major": b"1", "minor": b"0", "name": name.encode(), "realsize": b"%d" % size}
    pax = [(b"GNU.sparse." + key.encode(), value) for key, value in records.items()]
    return Member(f"{name}.sparse", _padded(text) + data, pax=pax)


def tar_of(members: Iterable[Member]) -> bytes:
    """Return a tar of these members."""
    return b"".join(member.to_bytes() for member in members) + bytes(2 * BLOCK)


def of_files(files: Mapping[str, bytes], prefix: str = "") -> list[Member]:
    """Return members for files by path, and for their folders."""
    folders = sorted(
        {name[:at] for name in files for at, letter in enumerate(name) if letter == "/" and at}
    )
    members = [Member(f"{prefix}{folder}/", kind=FOLDER) for folder in folders]
    return members + [Member(prefix + name, content) for name, content in files.items()]


def _header(name: bytes, kind: bytes, size: int, link: bytes, fields: Mapping[str, bytes]) -> bytes:
    header = bytearray(BLOCK)
    mode = b"0000755" if kind == FOLDER else b"0000644"
    values = {
        "name": name,
        "mode": mode,
        "uid": b"0000000",
        "gid": b"0000000",
        "size": b"%011o" % size,
        "mtime": b"13417621707",
        "checksum": b" " * 8,
        "kind": kind,
        "link": link,
        "magic": b"ustar\x0000",
        **{key: value for key, value in fields.items() if key != "checksum"},
    }
    for key, value in values.items():
        offset, length = FIELDS[key]
        header[offset : offset + length] = value[:length].ljust(length, b"\0")
    checksum = fields.get("checksum", b"%06o\0 " % sum(header))
    header[148:156] = checksum[:8].ljust(8, b"\0")
    return bytes(header)


def _record(key: bytes, value: bytes) -> bytes:
    rest = b" %s=%s\n" % (key, value)
    length = len(rest) + 1
    while len(rest) + len(str(length)) != length:
        length += 1
    return b"%d" % length + rest


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % BLOCK)


def sha256(content: bytes) -> bytes:
    """Return the digest that ends a stream."""
    return hashlib.sha256(content).digest()


def base_256(number: int, size: int) -> bytes:
    """Return a number as GNU tar writes those that octal digits can't hold."""
    return bytes([0x80 if number >= 0 else 0xFF]) + number.to_bytes(size - 1, "big", signed=True)


NUMBERS = st.integers(-(2**40), -1) | st.integers(0, strengths.CLAIMED_BYTES)
RAW_FIELDS = (
    st.integers(0, min(strengths.CLAIMED_BYTES, 8**11 - 1)).map(lambda number: b"%o" % number)
    | NUMBERS.map(lambda number: base_256(number, 12))
    | st.sampled_from([b"", b" ", b"-1", b"9" * 7, b"0x10", b"\xff" * 2, b"\x80", b"1\0002"])
)
NAMES = st.sampled_from(
    ["../x", "/etc/x", ".", "", "a//b", "\udcff", "x" * 300, "a/" * 200 + "a", "-", "\n", "a\tb"]
)
_PAX_KEYS = [b"path", b"linkpath", b"size", b"mtime", b"uid", b"hdrcharset", b"comment", b""]
_PAX_KEYS += [b"GNU.sparse.major", b"GNU.sparse.map", b"GNU.sparse.size", b"GNU.sparse.realsize"]
_PAX_VALUES = [b"", b"-1", b"nan", b"1e400", b"../../x", b"1,2,3", b"BINARY", b"\xff", b"9" * 4000]
PAX_RECORDS = st.tuples(
    st.sampled_from(_PAX_KEYS),
    st.sampled_from(_PAX_VALUES + ([b"a\0b"] if strengths.PAX_WITH_NUL else [])),
)


@st.composite
def mutated_members(draw: st.DrawFn, members: Sequence[Member]) -> list[Member]:
    """Return members of which a few are other than they should be."""
    found = list(members)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(found) - 1))
        member = found[at]
        changes = ["field", "pax", "name", "kind", "twice", "gone", "moved", "sparse"]
        match draw(st.sampled_from(changes)):
            case "sparse":
                found[at] = draw(sparse_files(member.name))
            case "field":
                key = draw(st.sampled_from(strengths.TAR_FIELDS))
                found[at] = replace(member, fields={**member.fields, key: draw(RAW_FIELDS)})
            case "pax":
                found[at] = replace(member, pax=draw(st.lists(PAX_RECORDS, max_size=3)))
            case "name":
                found[at] = replace(member, name=draw(NAMES))
            case "kind":
                kind = draw(
                    st.sampled_from([LINK, SYMLINK, FOLDER, b"3", b"6", SPARSE, b"L", b"g"])
                )
                found[at] = replace(member, kind=kind, link=draw(NAMES))
            case "twice":
                found.insert(draw(st.integers(0, len(found))), member)
            case "gone" if len(found) > 1:
                del found[at]
            case _:
                found.insert(draw(st.integers(0, len(found) - 1)), found.pop(at))
    return found


@st.composite
def sparse_files(draw: st.DrawFn, name: str) -> Member:
    """Return a sparse file, whose map most often tells of its data as it is."""
    pieces = draw(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 600)), max_size=5))
    numbers, end = [len(pieces)], 0
    for hole, size in pieces:
        numbers += [end + hole, size]
        end += hole + size
    data = b"x" * sum(size for _, size in pieces)
    if not draw(st.integers(0, 3)):
        numbers[draw(st.integers(0, len(numbers) - 1))] = draw(st.integers(0, 2**64))
    size = draw(st.sampled_from([end, end, end + 10_000, 0, 2**40, 2**63]))
    return sparse(name, size, numbers, draw(st.sampled_from([data, data, data + b"x", b""])))


@st.composite
def mutated_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """Return bytes, of which most often some are changed, cut off or added."""
    found = bytearray(content)
    match draw(st.sampled_from(["whole", "whole", "flipped", "cut off", "added", "repeated"])):
        case "flipped" if found:
            for _ in range(draw(st.integers(1, 4))):
                found[draw(st.integers(0, len(found) - 1))] = draw(st.integers(0, 255))
        case "cut off":
            del found[draw(st.integers(0, len(found))) :]
        case "added":
            found += draw(st.sampled_from([b"\0", b"x", bytes(BLOCK), b"x" * BLOCK]))
        case "repeated":
            found *= 2
        case _:
            pass
    return bytes(found)


@st.composite
def wrapped(draw: st.DrawFn, tar: bytes) -> bytes:
    """Return a tar in a compressed form, or as it is; bytes of either may be changed."""
    inner = draw(mutated_bytes(tar))
    form = draw(st.sampled_from(["plain", "gzip", "zstd", "frames", "twice"]))
    if form == "plain":
        return inner
    if form == "frames":
        half = len(inner) // 2
        return _zstd(inner[:half]) + _zstd(b"") + _zstd(inner[half:])
    if form == "twice":
        return gzip.compress(_zstd(inner), mtime=0)
    packed = gzip.compress(inner, mtime=0) if form == "gzip" else _zstd(inner)
    return draw(mutated_bytes(packed))


@st.composite
def bombs(draw: st.DrawFn, prefix: str) -> bytes:
    """Return a compressed tar that expands to a multiple of itself."""
    size = draw(strengths.sizes(1024**2, strengths.EXPANDED_BYTES))
    return bomb(prefix, draw(st.sampled_from(BOMBS)), size, draw(st.sampled_from(PACKERS)))


BOMBS = ("file", "pax", "padding")
PACKERS = ("gzip", "zstd")


def bomb(prefix: str, what: str, size: int, packer: str) -> bytes:
    """Return a compressed tar of a kata, with so many zeros in a file, a header, or behind it."""
    zeros = bytes(size)
    match what:
        case "file":
            tar = tar_of([Member(f"{prefix}whale/sandbox/zeros", zeros)])
        case "pax":
            tar = tar_of([Member(prefix, pax=[(b"comment", zeros)])])
        case _:
            tar = tar_of([Member(prefix, kind=FOLDER)]) + zeros
    return gzip.compress(tar, 1, mtime=0) if packer == "gzip" else _zstd(tar)


def _zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(content)
