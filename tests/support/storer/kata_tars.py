"""The tar of a kata, without a storer; and how a restore unpacks one."""

from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from storer.kata.kata import Kata
from storer.tar import snapshot
from storer.tar.snapshot import Snapshot
from storer.tar.untrusted_reader import Tar, translate_tar_errors


def tar_of(kata: Kata) -> bytes:
    """Return the tar that a download of the kata has."""
    with ExitStack() as opened:
        return b"".join(snapshot.members(Snapshot(kata, opened))) + snapshot.END


def unpack_as_restored(tar: bytes, folder: Path) -> Tar:
    """Unpack the kata in a tar into `folder` as a restore does; return the tar, read to its end."""
    with translate_tar_errors():
        read = Tar(iter([tar]))
        while read.member is not None:
            if len(read.parts()) > 2:
                read.unpack(folder, PurePosixPath(*read.parts()[2:]))
            read.advance()
        read.finish_kata()
        read.finish()
    return read
