"""An avatar's write-ahead log: the lights that git has, and the disk may not have yet.

A light makes a dozen files and names, each of which would need a sync of its own. Instead the
new objects of a light are appended to one file, `.journal`, and that file is synced; git's own
files are written without. A checkpoint syncs them later, all together, and empties the log:
`storer.fs.checkpointer` says when.

The file begins with a position: the log's generation, and how many bytes of entries it has. Behind
the entries is room that was written in advance: an entry that is synced there waits for no other
write of the file system, as it would where a file grows. Emptying the log starts a generation.

An entry that is cut off was never acknowledged, and ends the log.
"""

import errno
import hashlib
import os
import secrets
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from storer.fs import durable

JOURNAL = ".journal"

# The size that a log has at least, enough for some lights, and what it grows by.
ROOM_BYTES = 16 * 1024
GROWTH_BYTES = 64 * 1024

_GENERATION_BYTES = 8
_POSITION = struct.Struct(f">8s{_GENERATION_BYTES}sQ")  # magic, generation, bytes of entries
POSITION_BYTES = _POSITION.size
_POSITION_MAGIC = b"lights/2"
_HEADER = struct.Struct(f">8s{_GENERATION_BYTES}sQ32s")  # magic, generation, bytes, their sha256
_MAGIC = b"light/2\n"
_LIGHT = struct.Struct(">Q20sI")  # number, commit, how many objects
_OBJECT = struct.Struct(">20sI")  # name, bytes


@dataclass(frozen=True)
class Entry:
    """One light: its commit, and its new objects as the files that they are in git, by name."""

    number: int
    commit: str
    objects: Mapping[str, bytes]


class Position(NamedTuple):
    """A log's generation, and how many bytes of entries it has.

    A log with the same position as before has the same entries.
    """

    generation: bytes
    used: int


EMPTY = Position(bytes(_GENERATION_BYTES), 0)


class WriteAheadLog:
    """The write-ahead log in an avatar's folder. For the holder of the lock on the folder."""

    def __init__(self, folder: Path) -> None:
        self._path = f"{folder}/{JOURNAL}"

    def read_position(self) -> Position:
        """Return the log's position. Needs no lock."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return EMPTY
        try:
            return _position(os.pread(descriptor, POSITION_BYTES, 0))
        finally:
            os.close(descriptor)

    def append(self, entry: Entry) -> Position:
        """Append an entry; return the position before it.

        When this returns the entry is on disk; if it raises, the log does not have the entry.
        """
        parts = [_LIGHT.pack(entry.number, bytes.fromhex(entry.commit), len(entry.objects))]
        for name, content in entry.objects.items():
            parts += [_OBJECT.pack(bytes.fromhex(name), len(content)), content]
        payload = b"".join(parts)
        descriptor = self._open()
        try:
            # Not only of a file that was made just now: another's first append may have failed.
            if os.fstat(descriptor).st_size < POSITION_BYTES:
                durable.sync_folder(Path(self._path).parent)
            before = _position(os.pread(descriptor, POSITION_BYTES, 0))
            generation = before.generation if before.used else _new_generation()
            digest = hashlib.sha256(payload).digest()
            record = _HEADER.pack(_MAGIC, generation, len(payload), digest) + payload
            after = Position(generation, before.used + len(record))
            _append(descriptor, before, after, record)
        finally:
            os.close(descriptor)
        return before

    def undo(self, before: Position) -> None:
        """Remove the last entry, for good: the log is as it was `before` that was appended."""
        self._set(before, sync=True)

    def recover(self, known: Position = EMPTY) -> list[Entry]:
        """Return the entries, and cut off what is behind the last whole one.

        Without those up to the position `known`, if that is of the same generation.
        """
        position, found, end = self._read(known)
        if end != position.used:
            self._set(Position(position.generation, end))
        if found:
            with suppress(OSError):  # a disk that is read-only keeps what it has
                durable.sync_folder(Path(self._path).parent)  # its maker may have died before
        return found

    def entries(self) -> list[Entry]:
        """Return all entries; raise OSError if the disk lost some of them."""
        position, found, end = self._read(EMPTY)
        if end != position.used:
            raise OSError(errno.EIO, os.strerror(errno.EIO), self._path)
        return found

    def reset(self) -> None:
        """Empty the log, after a checkpoint: git's files are on disk."""
        self._set(Position(_new_generation(), 0))
        if os.stat(self._path).st_size > ROOM_BYTES:  # noqa: PTH116 - a path's own takes longer
            os.truncate(self._path, ROOM_BYTES)

    def _read(self, known: Position) -> tuple[Position, list[Entry], int]:
        """Return the position, the whole entries behind those `known`, and where they end."""
        try:
            content = Path(self._path).read_bytes()
        except FileNotFoundError:
            return EMPTY, [], 0
        position = _position(content)
        entries = memoryview(content)[POSITION_BYTES : POSITION_BYTES + position.used]
        is_known = known.generation == position.generation and known.used <= position.used
        at = known.used if is_known else 0
        generation = position.generation
        found = list(_entries(entries, generation, at)) or list(_entries(entries, generation, 0))
        end = found[-1][1] if found else 0
        return position, [entry for entry, _ in found], end

    def _set(self, position: Position, *, sync: bool = False) -> None:
        descriptor = self._open()
        try:
            os.pwrite(descriptor, _packed(position), 0)
            if sync:
                os.pwrite(descriptor, bytes(_HEADER.size), POSITION_BYTES + position.used)
                os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(self._path, flags, durable.PRIVATE)


def _new_generation() -> bytes:
    return secrets.token_bytes(_GENERATION_BYTES)


def _position(content: bytes) -> Position:
    """Return the position that a log's file begins with; one without is empty."""
    if len(content) < POSITION_BYTES:
        return EMPTY
    magic, generation, used = _POSITION.unpack_from(content)
    return Position(generation, used) if magic == _POSITION_MAGIC else EMPTY


def _packed(position: Position) -> bytes:
    return _POSITION.pack(_POSITION_MAGIC, *position)


def _append(descriptor: int, before: Position, after: Position, record: bytes) -> None:
    """Write a record behind the others, and sync it. If this raises, the log is as before."""
    size = os.fstat(descriptor).st_size
    end = POSITION_BYTES + after.used
    if end > size:
        step = GROWTH_BYTES if size else ROOM_BYTES
        record += bytes(step - end % step)
    try:
        durable.write_all(descriptor, record, POSITION_BYTES + before.used)
        os.pwrite(descriptor, _packed(after), 0)
        os.fdatasync(descriptor)
    except BaseException:
        with suppress(OSError):  # the first failure is the one to tell of
            if size >= POSITION_BYTES:
                os.pwrite(descriptor, _packed(before), 0)
            os.ftruncate(descriptor, size)
            os.fdatasync(descriptor)
        raise


def _entries(content: memoryview, generation: bytes, at: int) -> Iterator[tuple[Entry, int]]:
    """Yield each entry of a generation, and where it ends."""
    while len(content) - at >= _HEADER.size:
        magic, its_generation, length, digest = _HEADER.unpack_from(content, at)
        at += _HEADER.size
        payload = content[at : at + length]
        at += length
        if (magic, its_generation) != (_MAGIC, generation) or len(payload) != length:
            return
        if hashlib.sha256(payload).digest() != digest:
            return
        yield _entry(payload), at


def _entry(payload: memoryview) -> Entry:
    number, commit, count = _LIGHT.unpack_from(payload)
    at = _LIGHT.size
    objects = {}
    for _ in range(count):
        name, length = _OBJECT.unpack_from(payload, at)
        at += _OBJECT.size
        objects[name.hex()] = bytes(payload[at : at + length])
        at += length
    return Entry(number, commit.hex(), objects)
