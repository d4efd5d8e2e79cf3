"""Chunks of a stream: their size, and the digest that proves that all of them arrived."""

import hashlib
from collections.abc import Iterable, Iterator

# Large enough for the cost of a message not to matter; well below gRPC's usual limit of 4 MiB.
CHUNK_BYTES = 1024 * 1024


class Digest:
    """Counts and digests the bytes of a stream."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self.size_bytes = 0

    def update(self, data: bytes) -> None:
        """Add the next bytes."""
        self._sha256.update(data)
        self.size_bytes += len(data)

    @property
    def sha256(self) -> bytes:
        """The SHA-256 digest of all bytes so far."""
        return self._sha256.digest()


def rechunk(pieces: Iterable[bytes], chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Yield the same bytes in chunks of at most `chunk_bytes`, seldom much shorter.

    A piece of exactly that size is yielded without a copy, which would take longer than reading it.
    """
    pending: list[bytes] = []
    pending_bytes = 0
    for piece in pieces:
        if pending_bytes and pending_bytes + len(piece) > chunk_bytes:
            yield b"".join(pending)
            pending, pending_bytes = [], 0
        if len(piece) < chunk_bytes:
            pending.append(piece)
            pending_bytes += len(piece)
        elif len(piece) == chunk_bytes:
            yield piece
        else:
            for start in range(0, len(piece), chunk_bytes):
                yield piece[start : start + chunk_bytes]
    if pending_bytes:
        yield b"".join(pending)
