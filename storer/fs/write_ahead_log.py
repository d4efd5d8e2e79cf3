"""An avatar's write-ahead log: the lights and edits whose git files may not be on disk yet.

A light writes a dozen files and references, each of which would need a sync of its own. Instead,
the new objects of a light are appended to one file, `.journal`, and only that file is synced.
Git's own files are written without a sync. A checkpoint syncs them later, all together, and empties
the log; `storer.fs.checkpointer` decides when.

The file begins with a position: the log's generation, and how many bytes of entries it has. The
space behind the entries is preallocated: the sync of an entry there does not wait for other writes
of the file system, as it would if the file grew. Emptying the log starts a new generation.

A truncated entry was never acknowledged, and ends the log.
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
from typing import NamedTuple, Protocol

from storer.fs import durable

JOURNAL = ".journal"

# The least size of a log, enough for a few lights, and the step by which it grows.
MIN_BYTES = 16 * 1024
GROWTH_BYTES = 64 * 1024

_GENERATION_BYTES = 8
_POSITION = struct.Struct(f">8s{_GENERATION_BYTES}sQ")  # magic, generation, bytes of entries
POSITION_BYTES = _POSITION.size
_POSITION_MAGIC = b"lights/2"
_HEADER = struct.Struct(f">8s{_GENERATION_BYTES}sQ32s")  # magic, generation, bytes, their sha256
_MAGIC = b"light/2\n"
_LIGHT = struct.Struct(">Q20sI")  # number with minor above it, commit, how many objects
_NUMBER_BITS = 32
_OBJECT = struct.Struct(">20sI")  # name, bytes


@dataclass(frozen=True)
class Entry:
    """A light, or an edit after it: its commit, and its new objects as loose object files, by name.

    `minor` is the edit's number after light `number`; 0 for the light itself.
    """

    number: int
    commit: str
    objects: Mapping[str, bytes]
    minor: int = 0


class Position(NamedTuple):
    """A log's generation, and how many bytes of entries it has.

    A log whose position did not change has the same entries as before.
    """

    generation: bytes
    used: int


EMPTY = Position(bytes(_GENERATION_BYTES), 0)


class Log(Protocol):
    """Where entries are kept before they are acknowledged."""

    def append(self, entry: Entry) -> Position:
        """Keep an entry; return the position before it. If it raises, the entry is not kept."""

    def undo(self, before: Position) -> None:
        """Drop the last entry; `before` is the position that its append returned."""


class WriteAheadLog:
    """The write-ahead log in an avatar's folder. The caller holds the lock on the folder."""

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

        When this returns, the entry is on disk. If it raises, the log does not have the entry.
        """
        parts = encode(entry)
        length, digest = sum(map(len, parts)), hashlib.sha256()
        for part in parts:
            digest.update(part)
        descriptor = self._open()
        try:
            # Also for a file that was there: the append that created it may have failed since.
            if os.fstat(descriptor).st_size < POSITION_BYTES:
                durable.sync_folder(Path(self._path).parent)
            before = _position(os.pread(descriptor, POSITION_BYTES, 0))
            generation = before.generation if before.used else _new_generation()
            header = _HEADER.pack(_MAGIC, generation, length, digest.digest())
            after = Position(generation, before.used + len(header) + length)
            _append(descriptor, before, after, [header, *parts])
        finally:
            os.close(descriptor)
        return before

    def undo(self, before: Position) -> None:
        """Remove the last entry durably; `before` is the position that its append returned."""
        self._set(before, sync=True)

    def recover(self, known: Position = EMPTY) -> list[Entry]:
        """Return the entries behind the position `known`, and truncate after the last whole one.

        If `known` is of another generation, all entries are returned.
        """
        position, found, end = self._read(known)
        if end != position.used:
            self._set(Position(position.generation, end))
        if found:
            with suppress(OSError):  # a read-only disk needs no sync
                # The process that created the file may have died before it synced the name.
                durable.sync_folder(Path(self._path).parent)
        return found

    def entries(self) -> list[Entry]:
        """Return all entries; raise OSError if the disk lost one of them."""
        position, found, end = self._read(EMPTY)
        if end != position.used:
            raise OSError(errno.EIO, os.strerror(errno.EIO), self._path)
        return found

    def reset(self) -> None:
        """Empty the log. Git's files have to be on disk, or a crash of the machine loses lights."""
        self._set(Position(_new_generation(), 0))
        if os.stat(self._path).st_size > MIN_BYTES:  # noqa: PTH116 - faster than Path.stat
            os.truncate(self._path, MIN_BYTES)

    def _read(self, known: Position) -> tuple[Position, list[Entry], int]:
        """Return the position, the whole entries behind `known`, and the offset of their end."""
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
                # Without its header the entry never counts again, whatever the position says.
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
    """Return the position at the beginning of a log's file; without one the log is empty."""
    if len(content) < POSITION_BYTES:
        return EMPTY
    magic, generation, used = _POSITION.unpack_from(content)
    return Position(generation, used) if magic == _POSITION_MAGIC else EMPTY


def _packed(position: Position) -> bytes:
    return _POSITION.pack(_POSITION_MAGIC, *position)


def _append(descriptor: int, before: Position, after: Position, record: list[bytes]) -> None:
    """Append a record, in parts, to the log, and sync it. If this raises, the log is unchanged."""
    size = os.fstat(descriptor).st_size
    end = POSITION_BYTES + after.used
    if end > size:
        step = GROWTH_BYTES if size else MIN_BYTES
        record.append(bytes(step - end % step))
    try:
        durable.write_all(descriptor, b"".join(record), POSITION_BYTES + before.used)
        os.pwrite(descriptor, _packed(after), 0)
        os.fdatasync(descriptor)
    except BaseException:
        with suppress(OSError):  # the first failure is the one to raise
            if size >= POSITION_BYTES:
                os.pwrite(descriptor, _packed(before), 0)
            os.ftruncate(descriptor, size)
            os.fdatasync(descriptor)
        raise


def _entries(content: memoryview, generation: bytes, at: int) -> Iterator[tuple[Entry, int]]:
    """Yield each whole entry of a generation, from the offset `at`, with the offset of its end."""
    while len(content) - at >= _HEADER.size:
        magic, found_generation, length, digest = _HEADER.unpack_from(content, at)
        at += _HEADER.size
        payload = content[at : at + length]
        at += length
        if (magic, found_generation) != (_MAGIC, generation) or len(payload) != length:
            return
        if hashlib.sha256(payload).digest() != digest:
            return
        yield decode(payload), at


def encode(entry: Entry) -> list[bytes]:
    """Return an entry in parts, as a log has it: a light can have 48 MiB, and is not copied."""
    number = entry.minor << _NUMBER_BITS | entry.number
    parts = [_LIGHT.pack(number, bytes.fromhex(entry.commit), len(entry.objects))]
    for name, content in entry.objects.items():
        parts += [_OBJECT.pack(bytes.fromhex(name), len(content)), content]
    return parts


def decode(payload: memoryview) -> Entry:
    """Return the entry that `encode` encoded."""
    number, commit, count = _LIGHT.unpack_from(payload)
    at = _LIGHT.size
    objects = {}
    for _ in range(count):
        name, length = _OBJECT.unpack_from(payload, at)
        at += _OBJECT.size
        objects[name.hex()] = bytes(payload[at : at + length])
        at += length
    minor, number = divmod(number, 1 << _NUMBER_BITS)
    return Entry(number, commit.hex(), objects, minor)
