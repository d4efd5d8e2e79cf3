"""The archive: katas that nobody has used for a while, each in a compressed tar.

Each file ends with a seal: the SHA-256 digest of everything before it, in a frame that zstd skips.
A tar of a whole kata has another such frame before the seal, with the kata's head.
"""

import hashlib
import io
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, Protocol

from dojo.errors import ArchiveDamaged, KataNotFound

# https://github.com/facebook/zstd/blob/dev/doc/zstd_compression_format.md#skippable-frames
_SEAL = b"\x5d\x2a\x4d\x18" + (32).to_bytes(4, "little")
SEAL_BYTES = len(_SEAL) + 32
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
    """An addition to an archived kata: the base that it adds to, and its number in order.

    `edition` is that of the base.
    """

    base: str
    number: int
    edition: str = ""

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
            elif len(self._buffer) > SEAL_BYTES:
                break
        end = len(self._buffer) if self._is_verified else len(self._buffer) - SEAL_BYTES
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
        content, seal = self._buffer[:-SEAL_BYTES], self._buffer[-SEAL_BYTES:]
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
    def open(
        self, kata_id: str, edition: str | None = None
    ) -> AbstractContextManager[SealedReader]:
        """Give the compressed tar of an archived kata, without its copies.

        It is that of an edition, by default the newest. Raises KataNotFound. Raises ArchiveDamaged
        when the block ends, at the latest: whatever the block did not read is read then.
        """

    @abstractmethod
    def put(self, kata_id: str, pieces: Iterator[bytes], edition: str | None = None) -> str:
        """Archive a kata, durably and atomically; return the digest of its tar.

        It is of an `edition`, by default that in which this machine writes now. Removes the copies
        that add to an older tar of it.
        """

    @abstractmethod
    def delete(self, kata_id: str) -> None:
        """Delete an archived kata, if there is one."""
        self.claim()

    @abstractmethod
    def copies(self, kata_id: str, edition: str | None = None) -> list[Copy]:
        """Return the copies of a kata in order, including those that add to an older tar.

        They are those of an edition, by default the newest.
        """

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

    def generation(self) -> int:
        """Return the highest generation whose storers have written; 0 if there is none."""
        return 0

    @abstractmethod
    def note_generation(self, number: int) -> None:
        """Note that storers of several machines write in this generation from now on."""

    def newest_number(self, kata_id: str) -> int:
        """Return the newest edition of a kata as a number; 0 if there is none.

        It counts also if it says that the kata is deleted. 0 too if only one machine ever wrote.
        """
        return 0

    def newest_edition(self, kata_id: str) -> str:
        """Return the newest edition of an archived kata; "" if only one machine ever wrote.

        Raises KataNotFound.
        """
        return ""

    def edition(self, kata_id: str) -> str:
        """Return the edition in which this machine writes a kata; "" if only one ever wrote.

        Raises KataMoved if another machine owns the kata.
        """
        return ""

    @abstractmethod
    def put_body(self, kata_id: str, name: str, pieces: Iterator[bytes]) -> None:
        """Store something of a kata under a name that nobody else uses, durably and atomically."""

    @abstractmethod
    def open_body(self, kata_id: str, name: str) -> AbstractContextManager[SealedReader]:
        """Give what was stored under a name, as `open` gives a kata's tar."""

    @abstractmethod
    def bodies(self, kata_id: str) -> list[str]:
        """Return the names under which something of a kata was stored."""

    @abstractmethod
    def delete_body(self, kata_id: str, name: str) -> None:
        """Delete what was stored under a name, if it is there."""

    @abstractmethod
    def ask(self) -> None:
        """Raise ArchiveUnavailable if the archive does not answer."""

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

    def open(
        self, kata_id: str, edition: str | None = None
    ) -> AbstractContextManager[SealedReader]:
        """Raise KataNotFound."""
        raise KataNotFound(kata_id, "there is no archive")

    def put(self, kata_id: str, pieces: Iterator[bytes], edition: str | None = None) -> str:
        """Raise LookupError: the caller has to check `is_configured`."""
        raise LookupError("there is no archive")

    def delete(self, kata_id: str) -> None:
        """Do nothing."""

    def copies(self, kata_id: str, edition: str | None = None) -> list[Copy]:
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

    def put_body(self, kata_id: str, name: str, pieces: Iterator[bytes]) -> None:
        """Raise LookupError: the caller has to check `is_configured`."""
        raise LookupError("there is no archive")

    def open_body(self, kata_id: str, name: str) -> AbstractContextManager[SealedReader]:
        """Raise KataNotFound."""
        raise KataNotFound(kata_id, "there is no archive")

    def bodies(self, kata_id: str) -> list[str]:
        """Return nothing."""
        return []

    def ask(self) -> None:
        """Do nothing."""

    def note_generation(self, number: int) -> None:
        """Do nothing."""

    def delete_body(self, kata_id: str, name: str) -> None:
        """Do nothing."""

    def claim(self) -> None:
        """Do nothing."""

    def sweep(self) -> None:
        """Do nothing."""


def seal(pieces: Iterator[bytes], digest: "hashlib._Hash") -> Iterator[bytes]:
    """Yield a file's pieces, which `digest` takes in, and the seal behind them."""
    for piece in pieces:
        digest.update(piece)
        yield piece
    yield _SEAL + digest.digest()
