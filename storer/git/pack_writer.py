"""A pack of git objects and its index, made in memory of a few whole objects.

libgit2 makes packs too, smaller ones, as it looks for what objects have in common; but it takes
ten times as long, makes files, and needs to be told of every object that is in no pack yet.

The format is git's own: https://git-scm.com/docs/gitformat-pack.
"""

import hashlib
import struct
import zlib
from collections.abc import Mapping

_KINDS = {"commit": 1, "tree": 2, "blob": 3, "tag": 4}
_COMPRESSION = 1


def pack(objects: Mapping[str, tuple[str, bytes]]) -> tuple[str, bytes, bytes]:
    """Return the name of a pack that has these objects, its content, and that of its index.

    They are given by their names, each with its kind and content. All together have to be below
    2 GiB.
    """
    content = bytearray(b"PACK" + struct.pack(">II", 2, len(objects)))
    offsets, checks = [], []
    names = sorted(objects)
    for name in names:
        kind, whole = objects[name]
        entry = _size(_KINDS[kind], len(whole)) + zlib.compress(whole, _COMPRESSION)
        offsets.append(len(content))
        checks.append(zlib.crc32(entry))
        content += entry
    digest = _sha1(content)
    content += digest
    counts = [0] * 256
    for name in names:
        counts[int(name[:2], 16)] += 1
    up_to = [sum(counts[: first + 1]) for first in range(256)]
    index = b"".join(
        (
            b"\377tOc" + struct.pack(">I", 2),
            struct.pack(">256I", *up_to),
            *map(bytes.fromhex, names),
            struct.pack(f">{len(names)}I", *checks),
            struct.pack(f">{len(names)}I", *offsets),
            digest,
        )
    )
    return f"pack-{digest.hex()}", bytes(content), index + _sha1(index)


def _size(kind: int, size: int) -> bytes:
    """Return what an entry begins with: kind and size, seven bits in a byte but for the first."""
    first, size = kind << 4 | size & 0xF, size >> 4
    found = bytearray()
    while size:
        found.append(first | 0x80)
        first, size = size & 0x7F, size >> 7
    found.append(first)
    return bytes(found)


def _sha1(content: bytes | bytearray) -> bytes:
    return hashlib.sha1(content, usedforsecurity=False).digest()
