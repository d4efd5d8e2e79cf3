"""The archive: katas that nobody has touched for a while, each one compressed tar.

It is in a directory or in an S3-compatible store (`storer.archive.directory_store`,
`storer.archive.s3_store`). In both, kata 493A06504A is

    49/493a06504a.493A06504A.tar.zst                          all of it, at one moment
    49/493a06504a.493A06504A.copies/<base>.0001.tar.zst       what has come since, if anything

The names begin with the id in lower case, so that one look finds an id in whatever case it was
typed. `<base>` is the beginning of the digest of the tar that a copy adds to: copies of another
tar than the one that is there now are of no use to anybody.

Each of these ends with a seal, the SHA-256 digest of what comes before it, in a frame that
zstd skips. Before it, a tar of all has another such frame, with the kata's head.
"""

import hashlib
import io
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import product
from typing import IO, Protocol

from dojo import kata_ids
from dojo.errors import ArchiveDamaged, KataNotFound

_END = ".tar.zst"
_COPY = re.compile(r"([0-9a-f]{16})\.([0-9]{6})\.tar\.zst\Z")

_CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

# https://github.com/facebook/zstd/blob/dev/doc/zstd_compression_format.md#skippable-frames
_SEAL = b"\x5d\x2a\x4d\x18" + (32).to_bytes(4, "little")
_SEAL_BYTES = len(_SEAL) + 32
_HEAD = b"\x50\x2a\x4d\x18" + (32).to_bytes(4, "little")
HEAD_BYTES = len(_HEAD) + 32


def head_frame(head: str) -> bytes:
    """Return what the tar ends with of a kata that has this head."""
    return _HEAD + bytes.fromhex(head)


def head_in(end: bytes) -> str:
    """Return the head that a tar's last HEAD_BYTES tell of; "" if it was written without."""
    return end[-32:].hex() if end[-HEAD_BYTES:].startswith(_HEAD) else ""


@dataclass(frozen=True)
class ArchivedKata:
    """An archived kata; `stamp` changes whenever it is replaced or added to."""

    kata_id: str
    size_bytes: int
    stamp: str


@dataclass(frozen=True)
class Copy:
    """What was added to an archived kata: to which tar, by its digest, and in which order."""

    base: str
    number: int

    @staticmethod
    def base_of(digest: str) -> str:
        """Return what stands for a tar that copies add to."""
        return digest[:16]


class SealedReader(io.RawIOBase):
    """Reads what was sealed; raises ArchiveDamaged at its end if it is not what was written."""

    def __init__(self, source: IO[bytes], key: str) -> None:
        self.key = key
        self._source = source
        self._buffer = b""
        self._hash = hashlib.sha256()
        self._is_verified = False

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read on, up to the seal."""
        while not self._is_verified:
            piece = self._source.read(max(len(buffer), io.DEFAULT_BUFFER_SIZE))
            self._buffer += piece
            if not piece:
                self._verify()
            elif len(self._buffer) > _SEAL_BYTES:
                break
        end = len(self._buffer) if self._is_verified else len(self._buffer) - _SEAL_BYTES
        count = min(len(buffer), end)
        buffer[:count] = self._buffer[:count]
        if not self._is_verified:
            self._hash.update(buffer[:count])
        self._buffer = self._buffer[count:]
        return count

    @property
    def digest(self) -> str:
        """The digest of all of it, in hexadecimal digits, once it was read to its end."""
        return self._hash.hexdigest()

    def finish(self) -> None:
        """Read what is left, for its end to be checked."""
        while self.read(1024**2):
            pass

    def _verify(self) -> None:
        content, seal = self._buffer[:-_SEAL_BYTES], self._buffer[-_SEAL_BYTES:]
        self._hash.update(content)
        if seal != _SEAL + self._hash.digest():
            raise ArchiveDamaged(self.key, "it is not what was written")
        self._buffer = content
        self._is_verified = True


class Store(Protocol):
    """Where an archive keeps its tars, each under a key (`49/name`). Any thread may use it.

    Whatever can't be done because it does not answer raises ArchiveUnavailable.
    """

    def folders(self) -> list[str]:
        """Return the first parts of all keys, in order."""

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin with `prefix` and have no further slash, in order."""

    def status(self, key: str) -> tuple[int, str] | None:
        """Return the size in bytes, and what changes with each writing; None if it is absent."""

    def open(self, key: str) -> AbstractContextManager[IO[bytes]]:
        """Open what is there; raise FileNotFoundError if nothing is."""

    def write(self, key: str, pieces: Iterator[bytes]) -> None:
        """Put it there, instead of any before: durable, and all of it or nothing."""

    def delete(self, key: str) -> None:
        """Remove it, if it is there."""

    def sweep(self) -> None:
        """Remove what was never completed, its writer having died."""


class Archive(ABC):
    """Archived katas. Any thread may use it. All of it can raise ArchiveUnavailable."""

    @abstractmethod
    def ids(self, prefix: str = "", *, ignore_case: bool = False, after: str = "") -> Iterator[str]:
        """Yield the ids that begin with `prefix` and come after `after`, in order.

        Looks only where such ids can be, and no further than it is asked for.
        """

    @abstractmethod
    def find(self, kata_id: str) -> ArchivedKata | None:
        """Return what is known of an archived kata without reading it; None if it is none."""

    @abstractmethod
    def open(self, kata_id: str) -> AbstractContextManager[SealedReader]:
        """Give the compressed tar of an archived kata, without the copies that add to it.

        Raises KataNotFound; and ArchiveDamaged at the end of the block at the latest, which
        reads what was not read.
        """

    @abstractmethod
    def put(self, kata_id: str, pieces: Iterator[bytes]) -> str:
        """Archive a kata; return the digest of its tar.

        Durable and atomic: it is the old or the new one, whatever happens. Copies that add to an
        older one go.
        """

    @abstractmethod
    def delete(self, kata_id: str) -> None:
        """Delete an archived kata, if it is one."""

    @abstractmethod
    def copies(self, kata_id: str) -> list[Copy]:
        """Return what was added to a kata, in order; also what added to an older tar of it."""

    @abstractmethod
    def open_copy(self, kata_id: str, copy: Copy) -> AbstractContextManager[SealedReader]:
        """Give the compressed tar of a copy, as `open` does a kata's."""

    @abstractmethod
    def put_copy(self, kata_id: str, copy: Copy, pieces: Iterator[bytes]) -> None:
        """Add a copy, durable and atomic as `put` is."""

    @abstractmethod
    def sweep(self) -> None:
        """Remove what was never completed. For the start of a storer."""

    @property
    def is_configured(self) -> bool:
        """Whether there is an archive at all."""
        return True


class NoArchive(Archive):
    """There is no archive: it has no kata, and none can be put there."""

    is_configured = False

    def ids(self, prefix: str = "", *, ignore_case: bool = False, after: str = "") -> Iterator[str]:
        """Yield nothing."""
        return iter(())

    def find(self, kata_id: str) -> ArchivedKata | None:
        """Return None."""
        return None

    def open(self, kata_id: str) -> AbstractContextManager[SealedReader]:
        """Raise KataNotFound."""
        raise KataNotFound(kata_id, "there is no archive")

    def put(self, kata_id: str, pieces: Iterator[bytes]) -> str:
        """Raise LookupError: nobody may rely on it."""
        raise LookupError("there is no archive")

    def delete(self, kata_id: str) -> None:
        """Do nothing."""

    def copies(self, kata_id: str) -> list[Copy]:
        """Return nothing."""
        return []

    def open_copy(self, kata_id: str, copy: Copy) -> AbstractContextManager[SealedReader]:
        """Raise KataNotFound."""
        raise KataNotFound(kata_id, "there is no archive")

    def put_copy(self, kata_id: str, copy: Copy, pieces: Iterator[bytes]) -> None:
        """Raise LookupError: nobody may rely on it."""
        raise LookupError("there is no archive")

    def sweep(self) -> None:
        """Do nothing."""


class StoredArchive(Archive):
    """The archived katas in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def ids(self, prefix: str = "", *, ignore_case: bool = False, after: str = "") -> Iterator[str]:
        """Yield the ids that begin with `prefix` and come after `after`, in order."""
        beginning = prefix.lower() if ignore_case else prefix
        for outer in self._outer_names(prefix, ignore_case=ignore_case):
            if outer < after[:2]:
                continue
            first = f"{outer.lower()}/{outer.lower()}{prefix[2:].lower()}"
            found = (_kata_id(key) for key in self._store.keys(first))
            yield from sorted(
                kata_id
                for kata_id in found
                if kata_id.startswith(outer)
                and kata_id > after
                and (kata_id.lower() if ignore_case else kata_id).startswith(beginning)
            )

    def find(self, kata_id: str) -> ArchivedKata | None:
        """Return what is known of an archived kata without reading it; None if it is none."""
        found = self._store.status(_key(kata_id))
        if found is None:
            return None
        size_bytes, stamp = found
        copies = self.copies(kata_id)
        suffix = f"+{len(copies)}.{copies[-1].base}.{copies[-1].number}" if copies else ""
        return ArchivedKata(kata_id, size_bytes, stamp + suffix)

    @contextmanager
    def open(self, kata_id: str) -> Iterator[SealedReader]:
        """Give the compressed tar of an archived kata, without the copies that add to it."""
        with self._open(kata_id, _key(kata_id)) as sealed:
            yield sealed

    def put(self, kata_id: str, pieces: Iterator[bytes]) -> str:
        """Archive a kata; return the digest of its tar."""
        digest = hashlib.sha256()
        self._store.write(_key(kata_id), _seal(pieces, digest))
        for copy in self.copies(kata_id):
            self._store.delete(_copy_key(kata_id, copy))
        return digest.hexdigest()

    def delete(self, kata_id: str) -> None:
        """Delete an archived kata, if it is one."""
        # First what makes it one: copies of nothing are found by nobody.
        self._store.delete(_key(kata_id))
        for copy in self.copies(kata_id):
            self._store.delete(_copy_key(kata_id, copy))

    def copies(self, kata_id: str) -> list[Copy]:
        """Return what was added to a kata, in order; also what added to an older tar of it."""
        keys = self._store.keys(_copies_folder(kata_id))
        found = (_COPY.search(key) for key in keys)
        return [Copy(match[1], int(match[2])) for match in found if match is not None]

    @contextmanager
    def open_copy(self, kata_id: str, copy: Copy) -> Iterator[SealedReader]:
        """Give the compressed tar of a copy, as `open` does a kata's."""
        with self._open(kata_id, _copy_key(kata_id, copy)) as sealed:
            yield sealed

    def put_copy(self, kata_id: str, copy: Copy, pieces: Iterator[bytes]) -> None:
        """Add a copy, durable and atomic as `put` is."""
        self._store.write(_copy_key(kata_id, copy), _seal(pieces, hashlib.sha256()))

    def sweep(self) -> None:
        """Remove what was never completed."""
        self._store.sweep()

    @contextmanager
    def _open(self, kata_id: str, key: str) -> Iterator[SealedReader]:
        try:
            opened = self._store.open(key)
            with opened as source:
                sealed = SealedReader(source, key)
                yield sealed
                sealed.finish()
        except FileNotFoundError:
            raise KataNotFound(kata_id, "it is not in the archive") from None

    def _outer_names(self, prefix: str, *, ignore_case: bool) -> Iterator[str]:
        """Yield the first two characters of ids that can be there, in order."""
        existing = {prefix[:2].lower()} if len(prefix) >= 2 else set(self._store.folders())
        fold = str.lower if ignore_case else str
        beginning = fold(prefix[:2])
        for pair in product(_CHARACTERS, repeat=2):
            outer = "".join(pair)
            if outer.lower() in existing and fold(outer).startswith(beginning):
                yield outer


def _seal(pieces: Iterator[bytes], digest: "hashlib._Hash") -> Iterator[bytes]:
    for piece in pieces:
        digest.update(piece)
        yield piece
    yield _SEAL + digest.digest()


def _key(kata_id: str) -> str:
    return f"{kata_id[:2].lower()}/{kata_id.lower()}.{kata_id}{_END}"


def _copies_folder(kata_id: str) -> str:
    return f"{kata_id[:2].lower()}/{kata_id.lower()}.{kata_id}.copies/"


def _copy_key(kata_id: str, copy: Copy) -> str:
    return f"{_copies_folder(kata_id)}{copy.base}.{copy.number:06}{_END}"


def _kata_id(key: str) -> str:
    """Return the id that a key is of; "" if it is of none."""
    folder, _, name = key.partition("/")
    lower, _, rest = name.partition(".")
    kata_id = rest.removesuffix(_END)
    is_key = kata_ids.is_whole(kata_id) and rest.endswith(_END)
    return kata_id if is_key and kata_id.lower() == lower and lower.startswith(folder) else ""
