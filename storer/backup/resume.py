"""Resume an interrupted download: a name for the exact bytes of a kata's tar.

The tar is made again, and the same files always give the same tar. So it is enough to know that no
file has changed, and that the compression is the same.
"""

import hashlib
import zlib
from dataclasses import dataclass

import zstandard

from storer.fs import tree
from storer.tar import snapshot
from storer.tar.snapshot import Snapshot

# Increase this whenever the same files give another tar.
_FORMAT = "tar/2"


@dataclass(slots=True)
class Resumption:
    """Where a download resumes.

    `state` and `offset` are those that the caller sent, and after `compare` those that it gets.
    """

    state: bytes = b""
    offset: int = 0

    def compare(self, taken: Snapshot, compression: str) -> None:
        """Compare `state` with the kata's; start from 0 if they differ, as a file has changed."""
        now = state(taken, compression)
        if now != self.state:
            self.offset = 0
        self.state = now


def state(taken: Snapshot, compression: str) -> bytes:
    """Return a digest that names the bytes of the tar made of a snapshot.

    It covers the properties of every file, and the content of those that recording replaces.
    """
    digest = hashlib.sha256()
    versions = (_FORMAT, compression, zlib.ZLIB_RUNTIME_VERSION, zstandard.__version__)
    digest.update(repr((versions, taken.kata.kata_id)).encode())
    for path, content in sorted(taken.references.items()):
        digest.update(repr((str(path), hashlib.sha256(content).digest())).encode())
    for found in tree.members(taken.kata.folder):
        if not snapshot.is_included(taken, found):
            continue
        status = found.status
        # No program can set the change time (ctime), so no change goes unnoticed.
        properties = (
            str(found.path),
            found.target,
            status.st_mode,
            status.st_uid,
            status.st_gid,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
            status.st_ino,
        )
        digest.update(repr(properties).encode("utf-8", "surrogateescape"))
    return digest.digest()
