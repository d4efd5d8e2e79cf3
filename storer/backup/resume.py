"""Going on with a download that broke: what names the very bytes that a kata's tar has.

A tar is made anew each time, always the same from the same files. So it is enough to know that
no file changed since, and that it is compressed as then.
"""

import hashlib
import zlib
from dataclasses import dataclass

import zstandard

from storer.fs import tree
from storer.tar import snapshot
from storer.tar.snapshot import Snapshot

# Changes whenever the same files become another tar.
_FORMAT = "tar/1"


@dataclass(slots=True)
class Resumption:
    """Where a download is to go on, and, once it has begun, where it does.

    `state` and `offset` are what the caller has, and after `compare` what it gets.
    """

    state: bytes = b""
    offset: int = 0

    def compare(self, taken: Snapshot, compression: str) -> None:
        """Compare with the kata's state; where it is another, a file changed: from the start."""
        now = state(taken, compression)
        if now != self.state:
            self.offset = 0
        self.state = now


def state(taken: Snapshot, compression: str) -> bytes:
    """Return what names the bytes of the tar that is made of a snapshot.

    It looks at every file, and reads those alone that are replaced as the kata goes on.
    """
    digest = hashlib.sha256()
    versions = (_FORMAT, compression, zlib.ZLIB_RUNTIME_VERSION, zstandard.__version__)
    digest.update(repr((versions, taken.kata.kata_id)).encode())
    for path, content in sorted(taken.references.items()):
        digest.update(repr((str(path), hashlib.sha256(content).digest())).encode())
    for found in tree.members(taken.kata.folder):
        if not snapshot.belongs(taken, found):
            continue
        status = found.status
        # The time of the last change (ctime) can't be set by anybody: no change goes unseen.
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
