"""Reads packs that somebody else wrote, with a budget; writes packs of whole objects, and indexes.

The sizes of objects and of what deltas make stand in their headers, and are drawn from the budget
before anything is expanded.

The formats are git's own: https://git-scm.com/docs/pack-format.
"""

import hashlib
import mmap
import struct
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dojo.budget import Budget, BudgetExceeded
from dojo.limits import GIT_HELD_DELTA_BYTES
from storer.git import loose_objects

_HEADER = struct.Struct(">4sII")
_NAME_BYTES = 20
_VERSION = 2
_COMPRESSION = 1
_KINDS = {1: "commit", 2: "tree", 3: "blob", 4: "tag"}
_NUMBERS = {kind: number for number, kind in _KINDS.items()}
_OFFSET_DELTA, _NAME_DELTA = 6, 7
_LARGEST_VARINT = 2**40

# What a command of a delta takes of the budget, in bytes: it takes as much time as to read them.
_COMMAND_BYTES = 2048

_PIECE_BYTES = 64 * 1024
# The beginning of a delta, which has its two sizes; and that of its compressed data, which has
# tables of zlib before them.
_DELTA_HEAD_BYTES = 64
_COMPRESSED_HEAD_BYTES = 1024

INDEX_HEADER = b"\xfftOc\0\0\0\2"
_LARGE_OFFSET = 2**31


@dataclass(frozen=True, slots=True)
class Head:
    """What precedes an object in a pack: its kind, or its base if it is a delta.

    `size` is that of the object, or of the delta, after decompression; `data` is where the
    compressed data begins.
    """

    offset: int
    kind: str
    base: int | bytes | None
    data: int
    size: int


@dataclass(frozen=True, slots=True)
class _Entry(Head):
    """An object in a pack, with the checksum of its bytes in the pack."""

    crc: int


def read(pack: mmap.mmap, budget: Budget, objects: dict[str, tuple[str, int]]) -> bytes:
    """Read every object of a pack; return the pack's index.

    The kind and size of each object are added to `objects`. Raises ValueError if the pack is
    damaged, or BudgetExceeded.
    """
    if len(pack) < _HEADER.size + _NAME_BYTES:
        raise ValueError("the pack is cut off")
    magic, version, count = _HEADER.unpack_from(pack)
    if magic != b"PACK" or version not in {2, 3}:
        raise ValueError("it is not a pack")
    end = len(pack) - _NAME_BYTES
    trailer = pack[end:]
    with memoryview(pack) as view, view[:end] as content:
        if hashlib.sha1(content, usedforsecurity=False).digest() != trailer:
            raise ValueError("its content does not match its digest")
    entries = {}
    at = _HEADER.size
    for _ in range(count):
        budget.take_entry()
        entry, at = _entry(pack, at, end, budget)
        entries[entry.offset] = entry
    if at != end:
        raise ValueError("something comes after its last object")
    names = {}
    for entry, kind, content_size, name in _resolved(pack, entries, budget):
        objects[name.hex()] = (kind, content_size)
        names[name] = entry
    return index({name: (entry.offset, entry.crc) for name, entry in names.items()}, trailer)


def header(count: int) -> bytes:
    """Return how a pack of so many objects begins."""
    return _HEADER.pack(b"PACK", _VERSION, count)


def packed(kind: str, content: bytes) -> bytes:
    """Return an object as it is in a pack, whole."""
    size = len(content)
    begin = bytearray([_NUMBERS[kind] << 4 | size & 0xF])
    size >>= 4
    while size:  # seven bits to a byte
        begin[-1] |= 0x80
        begin.append(size & 0x7F)
        size >>= 7
    return bytes(begin) + zlib.compress(content, _COMPRESSION)


def head(pack: mmap.mmap, offset: int, end: int) -> Head:
    """Read what precedes the object at `offset`.

    Raises ValueError if that is malformed, or the object or delta larger than it may be.
    """
    at = offset
    if not _HEADER.size <= at < end:
        raise ValueError("the pack is cut off")
    kind = pack[at] >> 4 & 7
    size, at = _size(pack, at, end)
    base: int | bytes | None = None
    if kind == _OFFSET_DELTA:
        distance, at = _distance(pack, at, end)
        base = offset - distance
        if distance < 1 or base < _HEADER.size:
            raise ValueError("a delta has no base")
    elif kind == _NAME_DELTA:
        base = pack[at : at + _NAME_BYTES]
        at += _NAME_BYTES
    elif kind not in _KINDS:
        raise ValueError(f"an object is of the kind {kind}, which git does not have")
    loose_objects.check_size(_KINDS.get(kind, "blob"), size)
    return Head(offset, _KINDS.get(kind, ""), base, at, size)


def made_size(pack: mmap.mmap, delta: Head, end: int) -> int:
    """Return the size of what a delta makes, which stands at its beginning.

    Raises ValueError if that is malformed, or larger than any object may be.
    """
    begin = _begin(pack, delta.data, end)
    _, at = _delta_size(begin, 0)
    size, _ = _delta_size(begin, at)
    loose_objects.check_size("blob", size)
    return size


def _entry(pack: mmap.mmap, offset: int, end: int, budget: Budget) -> tuple[_Entry, int]:
    """Read the entry at `offset`; return it, and the offset of the next."""
    found = head(pack, offset, end)
    budget.take_bytes(found.size)  # what a delta makes is drawn when it is applied
    budget.hold(found.size)
    _, next_at = _inflate(pack, found.data, end, found.size)
    budget.hold(-found.size)
    crc = 0
    for start in range(offset, next_at, _PIECE_BYTES):
        crc = zlib.crc32(pack[start : min(start + _PIECE_BYTES, next_at)], crc)
    return _Entry(offset, found.kind, found.base, found.data, found.size, crc), next_at


def _begin(pack: mmap.mmap, at: int, end: int) -> bytes:
    """Return the first bytes of what is compressed at `at`."""
    try:
        piece = pack[at : min(at + _COMPRESSED_HEAD_BYTES, end)]
        return zlib.decompressobj().decompress(piece, _DELTA_HEAD_BYTES)
    except zlib.error as error:
        raise ValueError(f"an object can't be decompressed: {error}") from None


def _inflate(pack: mmap.mmap, at: int, end: int, size: int) -> tuple[bytes, int]:
    """Return the content of `size` bytes that is compressed at `at`, and where that ends."""
    decompressor = zlib.decompressobj()
    pieces = []
    left = size
    # Little more than an object needs: what is read beyond its end is copied.
    window = min(_PIECE_BYTES, size + size // 512 + 64)
    try:
        while not decompressor.eof:
            piece = pack[at : min(at + window, end)]
            if not piece:
                raise ValueError("an object is cut off")
            expanded = decompressor.decompress(piece, left + 1)
            at += len(piece) - len(decompressor.unused_data) - len(decompressor.unconsumed_tail)
            left -= len(expanded)
            pieces.append(expanded)
            if left < 0:
                raise ValueError("an object is larger than its header says")
    except zlib.error as error:
        raise ValueError(f"an object can't be decompressed: {error}") from None
    if left:
        raise ValueError("an object is smaller than its header says")
    return b"".join(pieces), at


def _resolved(
    pack: mmap.mmap, entries: dict[int, _Entry], budget: Budget
) -> Iterator[tuple[_Entry, str, int, bytes]]:
    """Yield each entry with the kind, size and name of its object; deltas after their bases."""
    deltas: defaultdict[int | bytes, list[_Entry]] = defaultdict(list)
    for entry in entries.values():
        if entry.base is not None:
            deltas[entry.base].append(entry)
    resolved = 0
    for top in entries.values():
        if top.base is None:
            for entry, size, name in _family(pack, top, deltas, budget):
                resolved += 1
                yield entry, top.kind, size, name
    if resolved != len(entries):
        raise ValueError("a delta has no base")


def _family(
    pack: mmap.mmap, top: _Entry, deltas: dict[int | bytes, list[_Entry]], budget: Budget
) -> Iterator[tuple[_Entry, int, bytes]]:
    """Yield a whole object, and those that deltas make of it, with their sizes and names."""
    end = len(pack) - _NAME_BYTES
    waiting: list[tuple[bytes, list[_Entry]]] = []  # objects with the deltas still to be applied
    held = 0
    entry, content = top, _inflate(pack, top.data, end, top.size)[0]
    while True:
        name = _name(top.kind, content)
        yield entry, len(content), name
        children = [*deltas.pop(entry.offset, []), *deltas.pop(name, [])]
        if children:
            waiting.append((content, children))
            held += len(content)
            budget.hold(len(content))
        if not waiting:
            return
        base, children = waiting[-1]
        entry = children.pop()
        if not children:  # nothing else needs the base
            waiting.pop()
            held -= len(base)
            budget.hold(-len(base))
        if held > GIT_HELD_DELTA_BYTES:
            raise BudgetExceeded(f"deltas need more than {GIT_HELD_DELTA_BYTES} bytes at once")
        content = _apply(base, _inflate(pack, entry.data, end, entry.size)[0], top.kind, budget)


def _apply(base: bytes, delta: bytes, kind: str, budget: Budget) -> bytes:
    """Return what a delta makes of its base; raise ValueError if it is malformed."""
    base_size, at = _delta_size(delta, 0)
    size, at = _delta_size(delta, at)
    if base_size != len(base):
        raise ValueError("a delta is for another base")
    loose_objects.check_size(kind, size)
    budget.take_bytes(size)
    made = bytearray()
    try:
        while at < len(delta):
            budget.take_bytes(_COMMAND_BYTES)
            command = delta[at]
            at += 1
            if command & 0x80:
                start, count, at = _copied(delta, at, command)
                source = base
            else:
                source, start, count = delta, at, command
                at += count
            if not count or start + count > len(source) or len(made) + count > size:
                raise ValueError("a delta has a command that can't be followed")
            made += source[start : start + count]
    except IndexError:
        raise ValueError("a delta is cut off") from None
    if len(made) != size:
        raise ValueError("a delta makes less than it says")
    return bytes(made)


def _copied(delta: bytes, at: int, command: int) -> tuple[int, int, int]:
    """Return what a command copies, where it begins and how many bytes, and what comes after it."""
    start = count = 0
    for bit in range(4):
        if command >> bit & 1:
            start |= delta[at] << 8 * bit
            at += 1
    for bit in range(3):
        if command >> (4 + bit) & 1:
            count |= delta[at] << 8 * bit
            at += 1
    return start, count or 0x10000, at


def _name(kind: str, content: bytes) -> bytes:
    digest = hashlib.sha1(b"%s %d\0" % (kind.encode(), len(content)), usedforsecurity=False)
    digest.update(content)
    return digest.digest()


def _size(pack: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    """Read an entry's size, whose lowest four bits share a byte with the kind."""
    byte = pack[at]
    size, shift, at = byte & 15, 4, at + 1
    while byte & 0x80:
        if at >= end or size > _LARGEST_VARINT:
            raise ValueError("an object's header is malformed")
        byte = pack[at]
        size |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
    return size, at


def _distance(pack: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    """Read how far before a delta its base is."""
    distance = -1
    while True:
        if at >= end or distance > _LARGEST_VARINT:
            raise ValueError("a delta's header is malformed")
        byte = pack[at]
        distance, at = ((distance + 1) << 7) | (byte & 0x7F), at + 1
        if not byte & 0x80:
            return distance, at


def _delta_size(delta: bytes, at: int) -> tuple[int, int]:
    size = shift = 0
    while True:
        if at >= len(delta) or size > _LARGEST_VARINT:
            raise ValueError("a delta's header is malformed")
        byte = delta[at]
        size |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if not byte & 0x80:
            return size, at


def index(names: Mapping[bytes, tuple[int, int]], trailer: bytes) -> bytes:
    """Return the index of a pack, version 2; `names` has each object's offset and CRC-32.

    `trailer` is the digest with which the pack ends.
    """
    ordered = sorted(names)
    counts = [0] * 256
    for name in ordered:
        counts[name[0]] += 1
    fan_out, total = [], 0
    for each in counts:
        total += each
        fan_out.append(total)
    offsets, large = [], []
    for name in ordered:
        offset = names[name][0]
        if offset >= _LARGE_OFFSET:
            large.append(offset)
            offset = _LARGE_OFFSET | (len(large) - 1)
        offsets.append(offset)
    content = b"".join(
        (
            INDEX_HEADER,
            struct.pack(">256I", *fan_out),
            *ordered,
            struct.pack(f">{len(ordered)}I", *(names[name][1] for name in ordered)),
            struct.pack(f">{len(offsets)}I", *offsets),
            struct.pack(f">{len(large)}Q", *large),
            trailer,
        )
    )
    return content + hashlib.sha1(content, usedforsecurity=False).digest()
