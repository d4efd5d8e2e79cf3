"""An avatar's journal: the lights that git has, and the disk may not have yet.

A light makes a dozen files and names, each of which would have to be synced by itself. Instead
what is new of it is appended to one file, `.journal`, and that is synced; git's own files are
written without. Now and then all of them are put on disk together, and the journal is emptied.

A journal that has something in it which this process did not put there was left by one that
died, and maybe the machine with it: whoever touches the avatar next writes again what is
missing. An entry that is cut off was never acknowledged, and ends the journal.
"""

import hashlib
import os
import struct
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from dojo import locks
from storer import durable

JOURNAL = ".journal"

# How long git's files may wait for being put on disk, and how much may wait.
SYNC_SECONDS = 10.0
MAX_BYTES = 4 * 1024 * 1024

_HEADER = struct.Struct(">8sQ32s")  # what it is; the bytes that follow; their sha256
_MAGIC = b"light/1\n"
_LIGHT = struct.Struct(">Q20sI")  # number, commit, how many objects
_OBJECT = struct.Struct(">20sI")  # name, bytes

_log = structlog.get_logger()


@dataclass(frozen=True)
class Entry:
    """One light: its commit, and its new objects as the files that they are in git, by name."""

    number: int
    commit: str
    objects: Mapping[str, bytes]


class Journal:
    """The journal in an avatar's folder. For the holder of the lock on the folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL

    @property
    def size(self) -> int:
        """How many bytes it has. Needs no lock."""
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def append(self, entry: Entry) -> None:
        """Add an entry. When this returns it is on disk; if it raises, it is not there."""
        parts = [_LIGHT.pack(entry.number, bytes.fromhex(entry.commit), len(entry.objects))]
        for name, content in entry.objects.items():
            parts += [_OBJECT.pack(bytes.fromhex(name), len(content)), content]
        payload = b"".join(parts)
        header = _HEADER.pack(_MAGIC, len(payload), hashlib.sha256(payload).digest())
        descriptor, is_new = self._open()
        try:
            size = os.fstat(descriptor).st_size
            try:
                durable.write_all(descriptor, header + payload)
                os.fdatasync(descriptor)
            except BaseException:
                os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)
        if is_new:
            durable.sync_folder(self._path.parent)

    def recover(self, known_bytes: int = 0) -> list[Entry]:
        """Return what it holds; what was cut off, and all behind it, goes.

        Without what is in the first bytes, where these are known and still the same.
        """
        try:
            content = memoryview(self._path.read_bytes())
        except FileNotFoundError:
            return []
        found = list(_entries(content, known_bytes)) or list(_entries(content, 0))
        end = found[-1][1] if found else 0
        if end < len(content):
            self.cut(end)
        return [entry for entry, _ in found]

    def cut(self, size: int) -> None:
        """Make it as short as it was."""
        os.truncate(self._path, size)

    def take_back(self, size: int) -> None:
        """Make it as short as it was before its last entry, for good."""
        self.cut(size)
        descriptor, _ = self._open()
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def sync_all(self) -> None:
        """Put on disk all that was ever written to its file system, and empty it."""
        durable.sync_file_system(self._path)
        self.cut(0)

    def _open(self) -> tuple[int, bool]:
        flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(self._path, flags), False
        except FileNotFoundError:
            return os.open(self._path, flags | os.O_CREAT, durable.PRIVATE), True


class Journals:
    """What this process knows of the journals of avatars. Any thread may use it.

    A lock guards which are known; a thread, which starts with the first entry, empties them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sizes: dict[Path, int] = {}
        self._noted = threading.Event()
        self._thread: threading.Thread | None = None

    def is_known(self, folder: Path) -> bool:
        """Say whether git has, for this process, all that the journal in `folder` holds."""
        size = Journal(folder).size
        if size == 0:
            return True
        with self._lock:
            return self._sizes.get(folder) == size

    def known_bytes(self, folder: Path) -> int:
        """Return how much of the journal in `folder` this process wrote or read."""
        with self._lock:
            return self._sizes.get(folder, 0)

    def note(self, folder: Path) -> None:
        """Take note that git has what the journal in `folder` holds. For the lock's holder."""
        size = Journal(folder).size
        with self._lock:
            self._sizes[folder] = size
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="journals", daemon=True)
                self._thread.start()
        self._noted.set()

    def empty(self) -> None:
        """Put all that was noted on disk, and empty the journals that had no entry since."""
        with self._lock:
            noted = dict(self._sizes)
        folders: dict[int, Path] = {}
        for folder in noted:
            try:
                folders.setdefault(folder.stat().st_dev, folder)
            except FileNotFoundError:  # the kata was deleted
                continue
        for folder in folders.values():
            durable.sync_file_system(folder)
        for folder, size in noted.items():
            self._empty(folder, size)

    def _empty(self, folder: Path, size: int) -> None:
        journal = Journal(folder)
        try:
            with locks.locked(folder):
                is_same = journal.size == size
                if is_same and size:
                    journal.cut(0)
        except FileNotFoundError:
            is_same = True
        if is_same:
            with self._lock:
                if self._sizes.get(folder) == size:
                    del self._sizes[folder]

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            self._noted.wait()
            self._noted.clear()
            pause.wait(SYNC_SECONDS)
            try:
                self.empty()
            except OSError as error:  # the journals keep what they have
                _log.warning("not put on disk", reason=str(error))


def _entries(content: memoryview, at: int) -> Iterator[tuple[Entry, int]]:
    """Yield each entry, and where it ends."""
    while len(content) - at >= _HEADER.size:
        magic, length, digest = _HEADER.unpack_from(content, at)
        at += _HEADER.size
        payload = content[at : at + length]
        at += length
        if magic != _MAGIC or len(payload) != length:
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
