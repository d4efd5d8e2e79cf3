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

import hashlib
import os
import secrets
import struct
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import structlog

from dojo import locks
from storer import durable

JOURNAL = ".journal"

# How long git's files may wait for being put on disk, and how much may wait.
SYNC_SECONDS = 10.0
MAX_BYTES = 4 * 1024 * 1024

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

_log = structlog.get_logger()


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
        descriptor, is_new = self._open()
        try:
            before = _state(os.pread(descriptor, STATE_BYTES, 0))
            turn = before.turn if before.used else secrets.token_bytes(_TURN_BYTES)
            digest = hashlib.sha256(payload).digest()
            record = _HEADER.pack(_MAGIC, turn, len(payload), digest) + payload
            after = State(turn, before.used + len(record))
            _add(descriptor, before, after, record)
        finally:
            os.close(descriptor)
        if is_new:
            durable.sync_folder(Path(self._path).parent)
        return before

    def recover(self, known: State = EMPTY) -> list[Entry]:
        """Return what it holds; what was cut off, and all behind it, goes.

        Without what it held in a state that is `known`, if it is still the same turn.
        """
        try:
            content = Path(self._path).read_bytes()
        except FileNotFoundError:
            return []
        state = _state(content)
        entries = memoryview(content)[STATE_BYTES : STATE_BYTES + state.used]
        is_known = known.turn == state.turn and known.used <= state.used
        at = known.used if is_known else 0
        found = list(_entries(entries, state.turn, at)) or list(_entries(entries, state.turn, 0))
        end = found[-1][1] if found else 0
        if end != state.used:
            self._set(State(state.turn, end))
        return [entry for entry, _ in found]

    def take_back(self, state: State) -> None:
        """Have it be, for good, as it was before its last entry."""
        self._set(state, is_lasting=True)

    def sync_all(self) -> None:
        """Put on disk all that was ever written to its file system, and empty it."""
        durable.sync_file_system(Path(self._path))
        self.clear()

    def clear(self) -> None:
        """Empty it: what it holds is on disk in another place."""
        self._set(State(secrets.token_bytes(_TURN_BYTES), 0))
        if os.stat(self._path).st_size > ROOM_BYTES:  # noqa: PTH116 - a path's own takes longer
            os.truncate(self._path, ROOM_BYTES)

    def _set(self, state: State, *, is_lasting: bool = False) -> None:
        descriptor, _ = self._open()
        try:
            os.pwrite(descriptor, _packed(state), 0)
            if is_lasting:
                os.pwrite(descriptor, bytes(_HEADER.size), STATE_BYTES + state.used)
                os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def _open(self) -> tuple[int, bool]:
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(self._path, flags), False
        except FileNotFoundError:
            return os.open(self._path, flags | os.O_CREAT, durable.PRIVATE), True


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
        if size >= STATE_BYTES:
            os.pwrite(descriptor, _packed(before), 0)
        os.ftruncate(descriptor, size)
        raise


class Journals:
    """What this process knows of the journals of avatars. Any thread may use it.

    A lock guards which are known; a thread, which starts with the first entry, empties them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[Path, State] = {}
        self._noted = threading.Event()
        self._thread: threading.Thread | None = None

    def is_known(self, folder: Path) -> bool:
        """Say whether git has, for this process, all that the journal in `folder` holds."""
        state = Journal(folder).state
        if not state.used:
            return True
        with self._lock:
            return self._states.get(folder) == state

    def known(self, folder: Path) -> State:
        """Return the state of the journal in `folder` that this process wrote or read last."""
        with self._lock:
            return self._states.get(folder, EMPTY)

    def note(self, folder: Path) -> None:
        """Take note that git has what the journal in `folder` holds. For the lock's holder."""
        state = Journal(folder).state
        with self._lock:
            self._states[folder] = state
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="journals", daemon=True)
                self._thread.start()
        self._noted.set()

    def empty(self) -> None:
        """Put all that was noted on disk, and empty the journals that had no entry since."""
        with self._lock:
            noted = dict(self._states)
        folders: dict[int, Path] = {}
        for folder in noted:
            try:
                folders.setdefault(folder.stat().st_dev, folder)
            except FileNotFoundError:  # the kata was deleted
                continue
        for folder in folders.values():
            durable.sync_file_system(folder)
        for folder, state in noted.items():
            self._empty(folder, state)

    def _empty(self, folder: Path, state: State) -> None:
        journal = Journal(folder)
        try:
            with locks.locked(folder):
                is_same = journal.state == state
                if is_same and state.used:
                    journal.clear()
        except FileNotFoundError:
            is_same = True
        if is_same:
            with self._lock:
                if self._states.get(folder) == state:
                    del self._states[folder]

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            self._noted.wait()
            self._noted.clear()
            pause.wait(SYNC_SECONDS)
            try:
                self.empty()
            except OSError as error:  # the journals keep what they have until it is tried again
                _log.warning("not put on disk", reason=str(error))
                self._noted.set()


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
