"""Bytes in pieces: the one chunk size, and the digest that says that all pieces came."""

import hashlib
from collections.abc import Iterable, Iterator

# Large enough that the cost per message vanishes, well below gRPC's usual limit of 4 MiB.
CHUNK_BYTES = 256 * 1024


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
    """Yield the same bytes in chunks of `chunk_bytes`; the last may be shorter."""
    pending: list[bytes] = []
    pending_bytes = 0
    for piece in pieces:
        pending.append(piece)
        pending_bytes += len(piece)
        if pending_bytes >= chunk_bytes:
            joined = b"".join(pending)
            whole = len(joined) - len(joined) % chunk_bytes
            for start in range(0, whole, chunk_bytes):
                yield joined[start : start + chunk_bytes]
            pending = [joined[whole:]]
            pending_bytes = len(joined) - whole
    if pending_bytes:
        yield b"".join(pending)
