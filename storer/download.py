"""A kata as a tar, streamed: what is in memory does not grow with the sandboxes."""

import os
import stat
import tarfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from enum import Enum
from pathlib import PurePosixPath

import zstandard

from dojo import avatars, kata_ids
from dojo.chunks import CHUNK_BYTES, rechunk
from dojo.errors import KataNotFound
from storer import copying, durable
from storer.avatar import MANIFEST
from storer.history import GIT
from storer.kata import Kata
from storer.katas import Katas
from storer.lights import INCREMENTS
from storer.sandbox import SANDBOX

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class Compression(Enum):
    """How a tar is compressed: the ending that its name gets."""

    NONE = ""
    GZIP = ".gz"
    ZSTD = ".zst"


def filename(kata_id: str, compression: Compression) -> str:
    """Return a name for the tar of a kata."""
    return f"{kata_id}.tar{compression.value}"


def download(katas: Katas, kata_id: str, compression: Compression) -> Generator[bytes, None, None]:
    """Yield a kata as a tar, in chunks, in the state it has when the first is asked for.

    No lock is held while the chunks are asked for: a slow reader delays nobody. Raises
    KataNotFound, also when the kata is deleted meanwhile.
    """
    with ExitStack() as opened:
        with katas.using(kata_id) as kata:
            snapshot = Snapshot(kata, opened)
        yield from rechunk(_compress(_tar(snapshot), compression))


class Snapshot:
    """What of a kata is replaced or added to as it goes on, as it was at one moment.

    Taking it holds the locks of all avatars, for a moment; reading it holds none. git's
    references are kept; of the files that can be large and are only ever replaced, an open
    descriptor. git's objects need neither: those that are there never change.
    """

    def __init__(self, kata: Kata, opened: ExitStack) -> None:
        """Take it. What it holds open is closed by `opened`."""
        self.kata = kata
        self.avatars = {avatar.name: avatar for avatar in kata.avatars()}
        self.references: dict[PurePosixPath, bytes] = {}
        self.descriptors: dict[PurePosixPath, int] = {}
        with ExitStack() as locks:
            for avatar in self.avatars.values():
                locks.enter_context(durable.locked(avatar.folder))
            for avatar in self.avatars.values():
                avatar.mend()
                self._keep(PurePosixPath(avatar.name), opened)

    def _keep(self, avatar: PurePosixPath, opened: ExitStack) -> None:
        for name in (MANIFEST, INCREMENTS):
            descriptor = os.open(self.kata.folder / avatar / name, _FLAGS)
            opened.callback(os.close, descriptor)
            self.descriptors[avatar / name] = descriptor
        git = self.kata.folder / avatar / GIT
        for path in git.rglob("*"):
            inside = PurePosixPath(path.relative_to(git))
            if is_reference(inside) and path.is_file():
                self.references[avatar / GIT / inside] = path.read_bytes()


def is_reference(path: PurePosixPath) -> bool:
    """Say whether a file in a repository is one of those that change when a light is added."""
    return path.parts[0] in {"refs", "logs"} or path.name in {"HEAD", "packed-refs", "index"}


def _tar(snapshot: Snapshot) -> Iterator[bytes]:
    """Yield the tar's bytes."""
    kata_id = snapshot.kata.kata_id
    outer, inner = kata_ids.outer(kata_id), kata_ids.inner(kata_id)
    try:
        status = snapshot.kata.folder.stat()
        for name in (outer, f"{outer}/{inner}"):
            yield _header(name, status).tobuf(tarfile.PAX_FORMAT)
        for path, now, descriptor in copying.walk(snapshot.kata.folder):
            if _belongs(snapshot, path):
                yield from _member(snapshot, f"{outer}/{inner}", path, now, descriptor)
    except FileNotFoundError:
        raise KataNotFound(kata_id, "it was deleted meanwhile") from None
    yield bytes(2 * tarfile.BLOCKSIZE)


def _belongs(snapshot: Snapshot, path: PurePosixPath) -> bool:
    """Say whether a path was there when the snapshot was taken, and is not being written."""
    avatar, *inside = path.parts
    if not avatars.is_name(avatar):
        return True
    if avatar not in snapshot.avatars:
        return False
    if not inside or inside[0] == SANDBOX:
        return True
    if inside[0] != GIT:
        return not inside[0].startswith(".")
    if path.name.endswith(".lock") or path.name.startswith("tmp_"):
        return False
    reference = len(inside) > 1 and is_reference(PurePosixPath(*inside[1:]))
    return path in snapshot.references or not reference or _is_folder(snapshot, path)


def _is_folder(snapshot: Snapshot, path: PurePosixPath) -> bool:
    return stat.S_ISDIR((snapshot.kata.folder / path).lstat().st_mode)


def _member(
    snapshot: Snapshot, top: str, path: PurePosixPath, status: os.stat_result, descriptor: int
) -> Iterator[bytes]:
    """Yield a member's header and content."""
    header = _header(f"{top}/{path}", status)
    if SANDBOX in path.parts[1:2]:
        # make compares timestamps finer than a second.
        seconds, nanoseconds = divmod(status.st_mtime_ns, 10**9)
        header.pax_headers = {"mtime": f"{seconds}.{nanoseconds:09}"}
    if header.issym():
        header.linkname = str((snapshot.kata.folder / path).readlink())
        if not copying.link_stays_inside(path, header.linkname):
            return
    kept = snapshot.references.get(path)
    if kept is not None:
        header.size = len(kept)
        yield header.tobuf(tarfile.PAX_FORMAT)
        yield kept + _padding(len(kept))
        return
    if path in snapshot.descriptors:
        descriptor = snapshot.descriptors[path]
        header.size = os.fstat(descriptor).st_size
    yield header.tobuf(tarfile.PAX_FORMAT, errors="surrogateescape")
    if header.isreg():
        yield from _content(descriptor, header.size)


def _content(descriptor: int, size: int) -> Iterator[bytes]:
    """Yield a file's first `size` bytes; one that shrank meanwhile is filled with zeros."""
    at = 0
    while at < size:
        piece = os.pread(descriptor, min(CHUNK_BYTES, size - at), at)
        piece = piece or bytes(min(CHUNK_BYTES, size - at))
        yield piece
        at += len(piece)
    yield _padding(size)


def _header(name: str, status: os.stat_result) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.mode = stat.S_IMODE(status.st_mode)
    header.uid, header.gid = status.st_uid, status.st_gid
    header.mtime = int(status.st_mtime)
    if stat.S_ISDIR(status.st_mode):
        header.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(status.st_mode):
        header.type = tarfile.SYMTYPE
    else:
        header.size = status.st_size
    return header


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)


def _compress(pieces: Iterator[bytes], compression: Compression) -> Iterator[bytes]:
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
