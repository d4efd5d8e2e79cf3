"""Bytes in pieces: the one chunk size, and the digest that says that all pieces came."""

import hashlib
from collections.abc import Iterable, Iterator

# Large enough that the cost per message vanishes, well below gRPC's usual limit of 4 MiB.
CHUNK_BYTES = 1024 * 1024


class Digest:
    """Counts and digests bytes as they go by."""

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

    A piece of the right size is passed on as it is: to copy it takes longer than to read it.
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
