"""A kata as a tar, streamed: memory does not grow with the size of the sandboxes."""

import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack
from enum import Enum
from itertools import chain

import zstandard

from dojo.chunks import rechunk
from storer.backup.resume import Resumption
from storer.katas.repository import Katas
from storer.tar import snapshot
from storer.tar.snapshot import Snapshot


class Compression(Enum):
    """How a tar is compressed; the value is the ending of its filename."""

    NONE = ""
    GZIP = ".gz"
    ZSTD = ".zst"


def filename(kata_id: str, compression: Compression) -> str:
    """Return a filename for the tar of a kata."""
    return f"{kata_id}.tar{compression.value}"


def download(
    katas: Katas, kata_id: str, compression: Compression, resumption: Resumption | None = None
) -> Generator[bytes, None, None]:
    """Yield a kata as a tar, in chunks, in the state that it has when the first is asked for.

    No lock is held between chunks, so a slow reader delays nobody. Once the first chunk is there,
    `resumption` says where the caller resumes; all chunks are yielded all the same. Raises
    KataNotFound, also if the kata is deleted or replaced before the end.
    """
    with ExitStack() as opened:
        with katas.using(kata_id) as kata:
            taken = Snapshot(kata, opened)
        if resumption is not None:
            resumption.compare(taken, compression.name)
        tar = chain(snapshot.members(taken), [snapshot.END])
        yield from rechunk(compress(tar, compression))


def compress(pieces: Iterable[bytes], compression: Compression) -> Iterator[bytes]:
    """Yield the bytes of a tar, compressed."""
    if compression is Compression.NONE:
        yield from pieces
        return
    gzip = compression is Compression.GZIP
    compressor = (
        zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
        if gzip
        else zstandard.ZstdCompressor().compressobj()
    )
    for piece in pieces:
        yield compressor.compress(piece)
    yield compressor.flush()
