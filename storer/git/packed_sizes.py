"""Finds the packed objects that are too large to be read: libgit2 expands whatever a pack has.

Packs that come in are read as a whole (`storer.git.packs`). Those of katas that earlier versions
let in are only looked through here, once: how large an object is stands in front of it, and in
front of a delta. Nothing is expanded.

The formats are git's own: https://git-scm.com/docs/pack-format.
"""

import mmap
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from dojo import waits
from dojo.limits import GIT_CHAIN_BYTES, HELD_ENTRY_BYTES
from dojo.lru_cache import LruCache
from dojo.shares import Holding
from storer.git import packs
from storer.git.loose_objects import TooLarge

_NAME_BYTES = 20
_INDEX_HEADER_BYTES = 8
_FAN_OUT = struct.Struct(">256I")
_CRC_BYTES = _OFFSET_BYTES = 4
_LARGE_OFFSET_BYTES = 8
_IS_LARGE = 2**31

# Of how many objects that are too large the names are kept. A pack with more is looked through each
# time: no git made it.
_MAX_KEPT = 1000

_Signature = tuple[int, int, int]

_checked: LruCache[Path, tuple[_Signature, dict[str, str]]] = LruCache(4096)


def too_large(git: Path) -> dict[str, str]:
    """Return the packed objects of a repository that nobody may expand, by name, with the reason.

    An object is too large as well if its delta needs one that is. Objects that are damaged in
    another way are left to whoever reads them. Raises MemoryExhausted.
    """
    found: dict[str, str] = {}
    with suppress(FileNotFoundError):
        for path in (git / "objects" / "pack").iterdir():
            if path.suffix == ".pack":
                with suppress(FileNotFoundError):  # it has no index, or git has just packed again
                    found |= _of_pack(path)
    return found


def _of_pack(path: Path) -> dict[str, str]:
    status = path.stat()
    signature = status.st_ino, status.st_mtime_ns, status.st_size
    known = _checked.get(path)
    if known is None or known[0] != signature:
        with path.open("rb") as file, path.with_suffix(".idx").open("rb") as index_file:
            try:
                mapped = _mapped(index_file.fileno())
                with Holding() as holding:
                    holding.add(_count(mapped) * HELD_ENTRY_BYTES)
                    found = _look_through(_mapped(file.fileno()), _index(mapped))
            except ValueError:  # an empty or a broken file
                found = {}
        known = signature, found
        if len(found) <= _MAX_KEPT:
            _checked.put(path, known)
    return known[1]


def _mapped(descriptor: int) -> mmap.mmap:
    return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)


def _count(index: mmap.mmap) -> int:
    """Return how many objects a pack has; raise ValueError for a broken index."""
    if index[:_INDEX_HEADER_BYTES] != packs.INDEX_HEADER:
        raise ValueError("it is not an index of version 2")
    begin = _INDEX_HEADER_BYTES + _FAN_OUT.size
    if len(index) < begin:
        raise ValueError("the index is cut off")
    count: int = _FAN_OUT.unpack_from(index, _INDEX_HEADER_BYTES)[-1]
    if len(index) - begin < count * (_NAME_BYTES + _CRC_BYTES + _OFFSET_BYTES):
        raise ValueError("the index is cut off")
    return count


def _index(index: mmap.mmap) -> dict[bytes, int]:
    """Return where each object of a pack begins, by name; raise ValueError for a broken index."""
    count = _count(index)
    try:
        names = _INDEX_HEADER_BYTES + _FAN_OUT.size
        offsets = names + count * (_NAME_BYTES + _CRC_BYTES)
        large = offsets + count * _OFFSET_BYTES
        found = {}
        for place in range(count):
            (offset,) = struct.unpack_from(">I", index, offsets + place * _OFFSET_BYTES)
            if offset & _IS_LARGE:
                at = large + (offset ^ _IS_LARGE) * _LARGE_OFFSET_BYTES
                (offset,) = struct.unpack_from(">Q", index, at)
            at = names + place * _NAME_BYTES
            found[index[at : at + _NAME_BYTES]] = offset
    except struct.error:
        raise ValueError("the index is cut off") from None
    return found


def _look_through(pack: mmap.mmap, index: dict[bytes, int]) -> dict[str, str]:
    """Return the objects of a pack that are too large, by name, with the reason."""
    sizes = _Sizes(pack, index)
    found = {}
    for name, offset in sorted(index.items(), key=lambda each: each[1]):
        waits.check()
        try:
            sizes.check(offset)
        except TooLarge as error:
            found[name.hex()] = str(error)
        except (ValueError, KeyError, IndexError):  # damaged in another way
            continue
    return found


class _Sizes:
    """What the objects of a pack expand to, together with the bases of their deltas."""

    def __init__(self, pack: mmap.mmap, index: dict[bytes, int]) -> None:
        self._pack = pack
        self._end = len(pack) - _NAME_BYTES
        self._index = index
        self._expanded: dict[int, int] = {}  # bytes, by where the object begins

    def check(self, offset: int) -> None:
        """Raise TooLarge, or ValueError if the pack is damaged."""
        chain = list(self._chain(offset))
        base, _ = chain[-1]
        total = self._expanded.get(base, 0)
        for at, size in reversed(chain):
            if at not in self._expanded:
                total += size
                if total > GIT_CHAIN_BYTES:
                    raise TooLarge(
                        f"with the bases of its delta it has more than {GIT_CHAIN_BYTES} bytes"
                    )
                self._expanded[at] = total

    def _chain(self, offset: int) -> Iterator[tuple[int, int]]:
        """Yield where an object and the bases of its delta begin, with their sizes.

        Ends with the first whose bases are known.
        """
        seen = set[int]()
        while offset not in seen:
            seen.add(offset)
            if offset in self._expanded:
                yield offset, 0
                return
            entry = packs.head(self._pack, offset, self._end)
            size = entry.size
            if entry.base is not None:
                size += packs.made_size(self._pack, entry, self._end)
            yield offset, size
            if entry.base is None:
                return
            offset = entry.base if isinstance(entry.base, int) else self._index[entry.base]
        raise ValueError("deltas are each other's bases")
