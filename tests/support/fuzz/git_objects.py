"""A small writer of git repositories, which writes wrong ones too.

The formats are git's own: https://git-scm.com/docs/gitformat-pack.
"""

import hashlib
import struct
import zlib
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Tree = Sequence[tuple[bytes, bytes, bytes]]  # mode, name, the 20 bytes of an object's name

_KINDS = {"commit": 1, "tree": 2, "blob": 3, "tag": 4}
_OFFSET_DELTA, _NAMED_DELTA = 6, 7


@dataclass
class Repository:
    """Objects by name, and other files, of a repository."""

    objects: dict[bytes, tuple[str, bytes]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    def add(self, kind: str, content: bytes) -> bytes:
        """Add an object; return its name, 20 bytes."""
        name = object_name(kind, content)
        self.objects[name] = (kind, content)
        return name

    def tree(self, entries: Tree) -> bytes:
        """Add a tree with entries in this order, whatever they are."""
        return self.add("tree", b"".join(b"%s %s\0%s" % entry for entry in entries))

    def commit(self, tree: bytes, parents: Sequence[bytes] = (), message: bytes = b"0") -> bytes:
        """Add a commit."""
        who = b"whale <whale@cyber-dojo.org> 1547642695 +0000"
        lines = [b"tree " + tree.hex().encode()]
        lines += [b"parent " + parent.hex().encode() for parent in parents]
        lines += [b"author " + who, b"committer " + who, b"", message + b"\n"]
        return self.add("commit", b"\n".join(lines))

    def tag(self, name: bytes, kind: bytes = b"commit") -> bytes:
        """Add an annotated tag of an object."""
        who = b"whale <whale@cyber-dojo.org> 1547642695 +0000"
        text = b"object %s\ntype %s\ntag 1\ntagger %s\n\n1\n" % (name.hex().encode(), kind, who)
        return self.add("tag", text)

    def reference(self, name: str, target: bytes) -> None:
        """Set a reference to an object."""
        self.files[name] = target.hex().encode() + b"\n"

    def loose(self) -> dict[str, bytes]:
        """Return all files of the repository, with each object in a file of its own."""
        files = dict(self.files)
        for name, (kind, content) in self.objects.items():
            path = f"objects/{name.hex()[:2]}/{name.hex()[2:]}"
            files[path] = zlib.compress(framed(kind, content))
        return files

    def packed(self, deltas: Mapping[bytes, tuple[bytes, bytes]] | None = None) -> dict[str, bytes]:
        """Return all files of the repository, with all objects in one pack.

        `deltas` has more objects: name -> the object that it is a delta of, and the delta.
        """
        pack, index = pack_of(self.objects, deltas or {})
        stem = f"objects/pack/pack-{pack[-20:].hex()}"
        return {**self.files, f"{stem}.pack": pack, f"{stem}.idx": index}


def object_name(kind: str, content: bytes) -> bytes:
    """Return the name of an object, 20 bytes."""
    return hashlib.sha1(framed(kind, content), usedforsecurity=False).digest()


def framed(kind: str, content: bytes) -> bytes:
    """Return an object as its name is the digest of."""
    return b"%s %d\0%s" % (kind.encode(), len(content), content)


def delta_of_copies(base: bytes, times: int) -> tuple[bytes, bytes]:
    """Return a delta that copies its base many times, and what it expands to."""
    length = min(len(base), 0xFFFF)
    copy = bytes([0x80 | 0x10 | 0x20]) + struct.pack("<H", length)
    return delta(len(base), length * times, copy * times), base[:length] * times


def delta(base_size: int, size: int, commands: bytes) -> bytes:
    """Return a delta that makes `size` bytes of a base, by commands as git encodes them."""
    return _varint(base_size) + _varint(size) + commands


def pack_of(
    objects: Mapping[bytes, tuple[str, bytes]], deltas: Mapping[bytes, tuple[bytes, bytes]]
) -> tuple[bytes, bytes]:
    """Return a pack, version 2, and its index. A base in the pack is named by its offset."""
    pack = bytearray(b"PACK" + struct.pack(">II", 2, len(objects) + len(deltas)))
    found: dict[bytes, tuple[int, int]] = {}  # name -> offset, checksum

    def put(name: bytes, kind: int, size: int, base: bytes, content: bytes) -> None:
        offset = len(pack)
        pack.extend(_size(kind, size) + base + zlib.compress(content))
        found[name] = offset, zlib.crc32(pack[offset:])

    for name, (kind, content) in objects.items():
        put(name, _KINDS[kind], len(content), b"", content)
    for name, (base, delta) in deltas.items():
        if base in found:
            distance = _offset(len(pack) - found[base][0])
            put(name, _OFFSET_DELTA, len(delta), distance, delta)
        else:
            put(name, _NAMED_DELTA, len(delta), base, delta)
    pack += hashlib.sha1(pack, usedforsecurity=False).digest()
    return bytes(pack), _index(found, bytes(pack[-20:]))


def _index(found: Mapping[bytes, tuple[int, int]], pack_digest: bytes) -> bytes:
    names = sorted(found)
    counts = [bisect_left(names, bytes([first + 1])) for first in range(255)] + [len(names)]
    index = b"\xfftOc" + struct.pack(">I256I", 2, *counts) + b"".join(names)
    index += b"".join(struct.pack(">I", found[name][1]) for name in names)
    index += b"".join(struct.pack(">I", found[name][0]) for name in names) + pack_digest
    return index + hashlib.sha1(index, usedforsecurity=False).digest()


def _size(kind: int, size: int) -> bytes:
    """Return the beginning of an object in a pack: its kind and size."""
    first, rest = kind << 4 | size & 15, size >> 4
    return bytes([first | 0x80]) + _varint(rest) if rest else bytes([first])


def _varint(number: int) -> bytes:
    parts = bytearray()
    while True:
        number, part = number >> 7, number & 127
        parts.append(part | (0x80 if number else 0))
        if not number:
            return bytes(parts)


def _offset(distance: int) -> bytes:
    parts = [distance & 127]
    while distance := distance >> 7:
        distance -= 1
        parts.append(0x80 | distance & 127)
    return bytes(reversed(parts))
