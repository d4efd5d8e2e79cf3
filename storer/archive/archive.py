"""The archive: katas that nobody has used for a while, each in a compressed tar.

It is in a directory or in an S3-compatible store (`storer.archive.directory_store`,
`storer.archive.s3_store`). In both, kata 493A06504A is

    49/493a06504a.493A06504A.tar.zst                          a tar of all of it
    49/493a06504a.493A06504A.copies/<base>.0001.tar.zst       copies: what was added since, if any

The names begin with the id in lower case, so that one listing finds an id typed in any case.
    .index/49/493a06504a.493A06504A.json                      its entry in the index
    .old-ids/ru/ruqcey.rUqcey                                 the kata of an avatar's old id

`<base>` is the beginning of the digest of the tar that a copy adds to. A copy whose base is not the
tar in the archive is ignored.

Each file ends with a seal: the SHA-256 digest of everything before it, in a frame that zstd skips.
A tar of a whole kata has another such frame before the seal, with the kata's head.
"""

import hashlib
import io
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import product
from typing import IO, Protocol

from dojo import kata_ids
from dojo.errors import ArchiveDamaged, ArchiveOfAnother, KataNotFound

_END = ".tar.zst"
_OWNER = ".namespace"
_MAX_OWNER_BYTES = 1024
_MAX_NOTE_BYTES = 100
_COPY = re.compile(r"([0-9a-f]{16})\.([0-9]{6})\.tar\.zst\Z")

_CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

# https://github.com/facebook/zstd/blob/dev/doc/zstd_compression_format.md#skippable-frames
_SEAL = b"\x5d\x2a\x4d\x18" + (32).to_bytes(4, "little")
_SEAL_BYTES = len(_SEAL) + 32
_HEAD = b"\x50\x2a\x4d\x18" + (32).to_bytes(4, "little")
HEAD_BYTES = len(_HEAD) + 32


def head_frame(head: str) -> bytes:
    """Return the frame with a kata's head, which ends the kata's tar."""
    return _HEAD + bytes.fromhex(head)


def head_in(end: bytes) -> str:
    """Return the head in the last HEAD_BYTES of a tar, or "" if the tar has none."""
    return end[-32:].hex() if end[-HEAD_BYTES:].startswith(_HEAD) else ""


@dataclass(frozen=True)
class ArchivedKata:
    """An archived kata; `stamp` changes when the kata is replaced or a copy is added."""

    kata_id: str
    size_bytes: int
    stamp: str


@dataclass(frozen=True)
class Copy:
    """An addition to an archived kata: the base that it adds to, and its number in order."""

    base: str
    number: int

    @staticmethod
    def base_of(digest: str) -> str:
        """Return the base of the copies that add to the tar with this digest."""
        return digest[:16]


class SealedReader(io.RawIOBase):
    """Reads a sealed file up to its seal, and raises ArchiveDamaged if the seal is wrong."""

    def __init__(self, source: IO[bytes], key: str) -> None:
        self.key = key
        self._source = source
        self._buffer = b""
        self._hash = hashlib.sha256()
        self._is_verified = False

    def readable(self) -> bool:
        """Return True: `io` asks before it reads."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read up to the seal, into `buffer`."""
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
        """The digest of the content in hexadecimal, once all of it was read."""
        return self._hash.hexdigest()

    def finish(self) -> None:
        """Read the rest, so that the seal is checked."""
        while self.read(1024**2):
            pass

    def _verify(self) -> None:
        content, seal = self._buffer[:-_SEAL_BYTES], self._buffer[-_SEAL_BYTES:]
        self._hash.update(content)
        if seal != _SEAL + self._hash.digest():
            raise ArchiveDamaged(self.key, "its digest does not match its content")
        self._buffer = content
        self._is_verified = True


class Store(Protocol):
    """A store of files, each under a key (`49/name`). Any thread may use it.

    A store that does not answer raises ArchiveUnavailable.
    """

    def folders(self) -> list[str]:
        """Return the first parts of all keys, in order."""

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin with `prefix` and have no further slash, in order."""

    def status(self, key: str) -> tuple[int, str] | None:
        """Return the size in bytes and a version that each write changes; None if it is absent."""

    def open(self, key: str) -> AbstractContextManager[IO[bytes]]:
        """Open the file of this key; raise FileNotFoundError if there is none."""

    def read_end(self, key: str, size: int) -> bytes:
        """Return the last `size` bytes of a file; raise FileNotFoundError if there is none."""

    def read_small(self, keys: Iterable[str], max_bytes: int) -> dict[str, bytes]:
        """Return the content of small files, except those that are absent or larger."""

    def write(self, key: str, pieces: Iterator[bytes]) -> None:
        """Write or replace the file of this key, durably and atomically."""

    def delete(self, key: str) -> None:
        """Delete the file of this key, if there is one."""

    def sweep(self) -> None:
        """Remove incomplete files of processes that died."""


class Archive(ABC):
    """Archived katas. Any thread may use it. Every method can raise ArchiveUnavailable."""

    @abstractmethod
    def ids(self, prefix: str = "", *, ignore_case: bool = False, after: str = "") -> Iterator[str]:
        """Yield the ids that begin with `prefix` and come after `after`, in order.

        Lists only folders that can hold such ids, and each only when its ids are asked for.
        """

    @abstractmethod
    def find(self, kata_id: str) -> ArchivedKata | None:
        """Return an archived kata's size and stamp without reading it; None if there is none."""

    @abstractmethod
    def head(self, kata_id: str) -> str:
        """Return the head of an archived kata, without its copies; "" if the tar has none.

        Only the end of the tar is read. Raises KataNotFound.
        """

    @abstractmethod
    def open(self, kata_id: str) -> AbstractContextManager[SealedReader]:
        """Give the compressed tar of an archived kata, without its copies.

        Raises KataNotFound. Raises ArchiveDamaged when the block ends, at the latest: whatever the
        block did not read is read then.
        """

    @abstractmethod
    def put(self, kata_id: str, pieces: Iterator[bytes]) -> str:
        """Archive a kata, durably and atomically; return the digest of its tar.

        Removes the copies that add to an older tar of it.
        """

    @abstractmethod
    def delete(self, kata_id: str) -> None:
        """Delete an archived kata, if there is one."""
        self.claim()

    @abstractmethod
    def copies(self, kata_id: str) -> list[Copy]:
        """Return the copies of a kata in order, including those that add to an older tar."""

    @abstractmethod
    def open_copy(self, kata_id: str, copy: Copy) -> AbstractContextManager[SealedReader]:
        """Give the compressed tar of a copy, as `open` gives a kata's."""

    @abstractmethod
    def put_copy(self, kata_id: str, copy: Copy, pieces: Iterator[bytes]) -> None:
        """Add a copy, durably and atomically."""

    @abstractmethod
    def read_index(self, kata_ids: Iterable[str], max_bytes: int) -> dict[str, bytes]:
        """Return the index entries of these katas, except those that are absent or larger."""

    @abstractmethod
    def write_index(self, kata_id: str, content: bytes) -> None:
        """Write or replace the index entry of an archived kata, atomically."""

    @abstractmethod
    def note_old_ids(self, old_ids: Iterable[str], kata_id: str) -> None:
        """Have the old ids of an archived kata's avatars lead to the kata."""

    @abstractmethod
    def of_old_id(self, old_id: str) -> str | None:
        """Return the kata that an old id was noted for; None if there is none."""

    @abstractmethod
    def complete_old_id(self, old_id: str) -> list[str]:
        """Return the katas that an old id, in any case, was noted for."""

    @abstractmethod
    def claim(self) -> None:
        """Mark the archive as this namespace's. Raises ArchiveOfAnother or ArchiveUnavailable."""

    @abstractmethod
    def sweep(self) -> None:
        """Remove incomplete files of processes that died. Call this when a storer starts."""

    @property
    def is_configured(self) -> bool:
        """Whether there is an archive."""
        return True


class NoArchive(Archive):
    """No archive: it has no katas and takes none."""

    is_configured = False

    def ids(self, prefix: str = "", *, ignore_case: bool = False, after: str = "") -> Iterator[str]:
        """Yield nothing."""
        return iter(())

    def find(self, kata_id: str) -> ArchivedKata | None:
        """Return None."""
        return None

    def head(self, kata_id: str) -> str:
        """Raise KataNotFound."""
        raise KataNotFound(kata_id, "there is no archive")

    def open(self, kata_id: str) -> AbstractContextManager[SealedReader]:
        """Raise KataNotFound."""
        raise KataNotFound(kata_id, "there is no archive")

    def put(self, kata_id: str, pieces: Iterator[bytes]) -> str:
        """Raise LookupError: the caller has to check `is_configured`."""
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
        """Raise LookupError: the caller has to check `is_configured`."""
        raise LookupError("there is no archive")

    def read_index(self, kata_ids: Iterable[str], max_bytes: int) -> dict[str, bytes]:
        """Return nothing."""
        return {}

    def write_index(self, kata_id: str, content: bytes) -> None:
        """Raise LookupError: the caller has to check `is_configured`."""
        raise LookupError("there is no archive")

    def note_old_ids(self, old_ids: Iterable[str], kata_id: str) -> None:
        """Raise LookupError: the caller has to check `is_configured`."""
        raise LookupError("there is no archive")

    def of_old_id(self, old_id: str) -> str | None:
        """Return None."""
        return None

    def complete_old_id(self, old_id: str) -> list[str]:
        """Return nothing."""
        return []

    def claim(self) -> None:
        """Do nothing."""

    def sweep(self) -> None:
        """Do nothing."""


class StoredArchive(Archive):
    """The archived katas in a store.

    The first storer that writes there marks the store with its namespace. For a storer of another
    namespace every write raises ArchiveOfAnother: it would replace and delete only copies.
    """

    def __init__(self, store: Store, namespace: str) -> None:
        """Use the store for the katas of `namespace`; nothing is read yet."""
        self._store = store
        self._namespace = namespace
        self._is_ours = False

    def claim(self) -> None:
        """Mark the store as this namespace's. Raises ArchiveOfAnother or ArchiveUnavailable."""
        if self._is_ours:
            return
        try:
            with self._store.open(_OWNER) as file:
                owner = file.read(_MAX_OWNER_BYTES).decode(errors="replace").strip()
        except FileNotFoundError:
            owner = self._namespace
            self._store.write(_OWNER, iter([f"{owner}\n".encode()]))
        if owner != self._namespace:
            raise ArchiveOfAnother(owner, self._namespace)
        self._is_ours = True

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
        """Return an archived kata's size and stamp without reading it; None if there is none."""
        found = self._store.status(_key(kata_id))
        if found is None:
            return None
        size_bytes, stamp = found
        copies = self.copies(kata_id)
        suffix = f"+{len(copies)}.{copies[-1].base}.{copies[-1].number}" if copies else ""
        return ArchivedKata(kata_id, size_bytes, stamp + suffix)

    def head(self, kata_id: str) -> str:
        """Return the head of an archived kata, from the end of its tar."""
        try:
            end = self._store.read_end(_key(kata_id), HEAD_BYTES + _SEAL_BYTES)
        except FileNotFoundError:
            raise KataNotFound(kata_id, "it is not in the archive") from None
        return head_in(end[:-_SEAL_BYTES])

    @contextmanager
    def open(self, kata_id: str) -> Iterator[SealedReader]:
        """Give the compressed tar of an archived kata, without its copies."""
        with self._open(kata_id, _key(kata_id)) as sealed:
            yield sealed

    def put(self, kata_id: str, pieces: Iterator[bytes]) -> str:
        """Archive a kata; return the digest of its tar."""
        self.claim()
        digest = hashlib.sha256()
        self._store.write(_key(kata_id), _seal(pieces, digest))
        for copy in self.copies(kata_id):
            self._store.delete(_copy_key(kata_id, copy))
        return digest.hexdigest()

    def delete(self, kata_id: str) -> None:
        """Delete an archived kata, if there is one."""
        # The tar first: copies without a tar are ignored, the reverse would be an older kata.
        self._store.delete(_key(kata_id))
        for copy in self.copies(kata_id):
            self._store.delete(_copy_key(kata_id, copy))
        self._store.delete(_index_key(kata_id))

    def copies(self, kata_id: str) -> list[Copy]:
        """Return the copies of a kata in order, including those that add to an older tar."""
        keys = self._store.keys(_copies_folder(kata_id))
        found = (_COPY.search(key) for key in keys)
        return [Copy(match[1], int(match[2])) for match in found if match is not None]

    @contextmanager
    def open_copy(self, kata_id: str, copy: Copy) -> Iterator[SealedReader]:
        """Give the compressed tar of a copy, as `open` gives a kata's."""
        with self._open(kata_id, _copy_key(kata_id, copy)) as sealed:
            yield sealed

    def put_copy(self, kata_id: str, copy: Copy, pieces: Iterator[bytes]) -> None:
        """Add a copy, durably and atomically."""
        self.claim()
        self._store.write(_copy_key(kata_id, copy), _seal(pieces, hashlib.sha256()))

    def read_index(self, kata_ids: Iterable[str], max_bytes: int) -> dict[str, bytes]:
        """Return the index entries of these katas, except those that are absent or larger."""
        keys = {_index_key(kata_id): kata_id for kata_id in kata_ids}
        found = self._store.read_small(keys, max_bytes)
        return {keys[key]: content for key, content in found.items()}

    def write_index(self, kata_id: str, content: bytes) -> None:
        """Write or replace the index entry of an archived kata, atomically."""
        self.claim()
        self._store.write(_index_key(kata_id), iter([content]))

    def note_old_ids(self, old_ids: Iterable[str], kata_id: str) -> None:
        """Have the old ids of an archived kata's avatars lead to the kata."""
        self.claim()
        for old_id in old_ids:
            if self.of_old_id(old_id) != kata_id:
                self._store.write(_old_id_key(old_id), iter([f"{kata_id}\n".encode()]))

    def of_old_id(self, old_id: str) -> str | None:
        """Return the kata that an old id was noted for; None if there is none."""
        return next(iter(self._noted([_old_id_key(old_id)])), None)

    def complete_old_id(self, old_id: str) -> list[str]:
        """Return the katas that an old id, in any case, was noted for."""
        return self._noted(self._store.keys(_old_id_key(old_id).rpartition(".")[0] + "."))

    def _noted(self, keys: Iterable[str]) -> list[str]:
        found = self._store.read_small(keys, _MAX_NOTE_BYTES)
        noted = (content.decode("ascii", "replace").strip() for content in found.values())
        return [kata_id for kata_id in noted if kata_ids.is_whole(kata_id)]

    def sweep(self) -> None:
        """Remove incomplete files of processes that died."""
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
        """Yield, in order, the first two characters that archived ids can begin with."""
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


def _index_key(kata_id: str) -> str:
    return f".index/{kata_id[:2].lower()}/{kata_id.lower()}.{kata_id}.json"


def _old_id_key(old_id: str) -> str:
    return f".old-ids/{old_id_path(old_id)}"


def old_id_path(old_id: str) -> str:
    """Return a path that one listing finds for an old id that is typed in any case."""
    lower = old_id.lower()
    return f"{lower[:2]}/{lower}.{old_id}"


def _kata_id(key: str) -> str:
    """Return the id in the key of a kata's tar; "" for any other key."""
    folder, _, name = key.partition("/")
    lower, _, rest = name.partition(".")
    kata_id = rest.removesuffix(_END)
    is_key = kata_ids.is_whole(kata_id) and rest.endswith(_END)
    return kata_id if is_key and kata_id.lower() == lower and lower.startswith(folder) else ""
