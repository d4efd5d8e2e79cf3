"""An avatar's journal: the lights that git has, and the disk may not have yet.

A light makes a dozen files and names, each of which would have to be synced by itself. Instead
what is new of it is added to one file, `.journal`, and that is synced; git's own files are
written without. Now and then all of them are put on disk together, and the journal is emptied.

The file begins with its state: whose turn it is, and how many bytes of entries count. Behind them
is room, written already: to sync an entry there, the file system has no other writing to wait for,
as it has where a file grows. To empty the journal is to begin another turn.

A journal that has something in it which this process did not put there was left by one that
died, and maybe the machine with it: whoever touches the avatar next writes again what is
missing. An entry that is cut off was never acknowledged, and ends the journal.
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

# What a journal has at least, enough for some lights, and what it grows by.
ROOM_BYTES = 16 * 1024
GROWTH_BYTES = 64 * 1024

_TURN_BYTES = 8
_STATE = struct.Struct(f">8s{_TURN_BYTES}sQ")  # what it is; the turn; bytes of entries
STATE_BYTES = _STATE.size
_STATE_MAGIC = b"lights/2"
_HEADER = struct.Struct(f">8s{_TURN_BYTES}sQ32s")  # what it is; the turn; bytes; their sha256
_MAGIC = b"light/2\n"
_LIGHT = struct.Struct(">Q20sI")  # number, commit, how many objects
_OBJECT = struct.Struct(">20sI")  # name, bytes


@dataclass(frozen=True)
class Entry:
    """One light: its commit, and its new objects as the files that they are in git, by name."""

    number: int
    commit: str
    objects: Mapping[str, bytes]


class State(NamedTuple):
    """Which turn it is, and how many bytes of entries there are. Equal: nothing was added."""

    turn: bytes
    used: int


EMPTY = State(bytes(_TURN_BYTES), 0)


class Journal:
    """The journal in an avatar's folder. For the holder of the lock on the folder."""

    def __init__(self, folder: Path) -> None:
        self._path = f"{folder}/{JOURNAL}"

    @property
    def state(self) -> State:
        """Its state. Needs no lock."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return EMPTY
        try:
            return _state(os.pread(descriptor, STATE_BYTES, 0))
        finally:
            os.close(descriptor)

    def append(self, entry: Entry) -> State:
        """Add an entry; return the state that was before.

        When this returns the entry is on disk; if it raises, it is not there.
        """
        parts = [_LIGHT.pack(entry.number, bytes.fromhex(entry.commit), len(entry.objects))]
        for name, content in entry.objects.items():
            parts += [_OBJECT.pack(bytes.fromhex(name), len(content)), content]
        payload = b"".join(parts)
        descriptor = self._open()
        try:
            # Not only one that was made just now: the first entry of another may have failed.
            if os.fstat(descriptor).st_size < STATE_BYTES:
                durable.sync_folder(Path(self._path).parent)
            before = _state(os.pread(descriptor, STATE_BYTES, 0))
            turn = before.turn if before.used else secrets.token_bytes(_TURN_BYTES)
            digest = hashlib.sha256(payload).digest()
            record = _HEADER.pack(_MAGIC, turn, len(payload), digest) + payload
            after = State(turn, before.used + len(record))
            _add(descriptor, before, after, record)
        finally:
            os.close(descriptor)
        return before

    def recover(self, known: State = EMPTY) -> list[Entry]:
        """Return what it holds; what was cut off, and all behind it, goes.

        Without what it held in a state that is `known`, if it is still the same turn.
        """
        state, found, end = self._read(known)
        if end != state.used:
            self._set(State(state.turn, end))
        if found:
            with suppress(OSError):  # a disk that is read-only keeps what it has
                durable.sync_folder(Path(self._path).parent)  # who made it may have died before
        return found

    def entries(self) -> list[Entry]:
        """Return what it holds; raise OSError if the disk lost some of it."""
        state, found, end = self._read(EMPTY)
        if end != state.used:
            raise OSError(errno.EIO, os.strerror(errno.EIO), self._path)
        return found

    def _read(self, known: State) -> tuple[State, list[Entry], int]:
        """Return its state, its whole entries after those that are `known`, and where they end."""
        try:
            content = Path(self._path).read_bytes()
        except FileNotFoundError:
            return EMPTY, [], 0
        state = _state(content)
        entries = memoryview(content)[STATE_BYTES : STATE_BYTES + state.used]
        is_known = known.turn == state.turn and known.used <= state.used
        at = known.used if is_known else 0
        found = list(_entries(entries, state.turn, at)) or list(_entries(entries, state.turn, 0))
        end = found[-1][1] if found else 0
        return state, [entry for entry, _ in found], end

    def take_back(self, state: State) -> None:
        """Have it be, for good, as it was before its last entry."""
        self._set(state, is_lasting=True)

    def clear(self) -> None:
        """Empty it: what it holds is on disk in another place."""
        self._set(State(secrets.token_bytes(_TURN_BYTES), 0))
        if os.stat(self._path).st_size > ROOM_BYTES:  # noqa: PTH116 - a path's own takes longer
            os.truncate(self._path, ROOM_BYTES)

    def _set(self, state: State, *, is_lasting: bool = False) -> None:
        descriptor = self._open()
        try:
            os.pwrite(descriptor, _packed(state), 0)
            if is_lasting:
                os.pwrite(descriptor, bytes(_HEADER.size), STATE_BYTES + state.used)
                os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(self._path, flags, durable.PRIVATE)


def _state(content: bytes) -> State:
    """Return the state that a journal begins with; one that has none is empty."""
    if len(content) < STATE_BYTES:
        return EMPTY
    magic, turn, used = _STATE.unpack_from(content)
    return State(turn, used) if magic == _STATE_MAGIC else EMPTY


def _packed(state: State) -> bytes:
    return _STATE.pack(_STATE_MAGIC, *state)


def _add(descriptor: int, before: State, after: State, record: bytes) -> None:
    """Write an entry behind the others, and put it on disk. If this raises, it is not there."""
    size = os.fstat(descriptor).st_size
    end = STATE_BYTES + after.used
    if end > size:
        step = GROWTH_BYTES if size else ROOM_BYTES
        record += bytes(step - end % step)
    try:
        durable.write_all(descriptor, record, STATE_BYTES + before.used)
        os.pwrite(descriptor, _packed(after), 0)
        os.fdatasync(descriptor)
    except BaseException:
        with suppress(OSError):  # the first failure is the one to tell of
            if size >= STATE_BYTES:
                os.pwrite(descriptor, _packed(before), 0)
            os.ftruncate(descriptor, size)
            os.fdatasync(descriptor)
        raise


def _entries(content: memoryview, turn: bytes, at: int) -> Iterator[tuple[Entry, int]]:
    """Yield each entry of a turn, and where it ends."""
    while len(content) - at >= _HEADER.size:
        magic, its_turn, length, digest = _HEADER.unpack_from(content, at)
        at += _HEADER.size
        payload = content[at : at + length]
        at += length
        if (magic, its_turn) != (_MAGIC, turn) or len(payload) != length:
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
