"""Extract a kata's tar from the archive into a folder.

The storer wrote the tar, and its digest proves that nobody changed it, so owners and modes are
taken from it.
"""

import io
import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO, cast

import zstandard

from dojo.errors import ArchiveDamaged
from storer.archive.archive import SealedReader
from storer.archive.object_packs import ObjectPacks
from storer.fs import tree
from storer.fs.folder_times import FolderTimes
from storer.tar.members import Member, Reader

_BLOCK = tarfile.BLOCKSIZE
_READ_BYTES = 256 * 1024
_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def extract(
    sealed: SealedReader, kata_id: str, folder: Path, packs: ObjectPacks | None = None
) -> None:
    """Extract the kata whose compressed tar is `sealed` into `folder`, over what is there.

    With `packs`, git's objects go there, and the caller writes them. Nobody may see the folder
    before the digest of `sealed` was checked. Raises ArchiveDamaged.
    """
    try:
        decompressor = zstandard.ZstdDecompressor(max_window_size=2**27)
        stream = decompressor.stream_reader(cast("IO[bytes]", sealed), read_across_frames=True)
        _extract(
            io.BufferedReader(cast("io.RawIOBase", stream), _READ_BYTES), kata_id, folder, packs
        )
    except (zstandard.ZstdError, tarfile.TarError, ValueError) as error:
        sealed.finish()  # raises first if the tar is not what was written
        raise ArchiveDamaged(sealed.key, str(error)) from error


def _extract(stream: IO[bytes], kata_id: str, folder: Path, packs: ObjectPacks | None) -> None:
    top = f"{kata_id[:2]}/{kata_id[2:]}"
    reader = Reader(stream)
    times = FolderTimes()
    while (member := reader.next()) is not None:
        if member.name in {top, kata_id[:2]}:
            continue
        path = member.name.removeprefix(f"{top}/")
        if path == member.name or ".." in path.split("/"):
            raise ValueError(f"{member.name!r} is outside of {top}")
        target = f"{folder}/{path}"
        times.leave(target)
        if packs is not None and _may_be_packed(member) and packs.wants(path, member.size):
            content = reader.content().read()
            if not packs.take(path, content):
                with _created_file(member, target) as file:
                    file.write(content)
        else:
            _extract_member(reader, member, target)
        if member.kind == tarfile.DIRTYPE and tree.is_in_sandbox(PurePosixPath(path)):
            times.enter(target, member.modified_ns)
    times.leave()
    if stream.read(_BLOCK + 1) != bytes(_BLOCK):
        raise ValueError("it does not end as a tar has to")


def _may_be_packed(member: Member) -> bool:
    return member.isreg() and member.sparse_size is None


def _extract_member(reader: Reader, member: Member, target: str) -> None:
    if member.isdir():
        _create_folder(member, target)
    elif member.issym():
        _remove(target)
        os.symlink(member.target, target)  # noqa: PTH211 - as in _create_folder
        os.chown(target, member.owner, member.group, follow_symlinks=False)
        os.utime(target, ns=(member.modified_ns, member.modified_ns), follow_symlinks=False)
    else:
        with _created_file(member, target) as file:
            reader.copy_content(member, file)


@contextmanager
def _created_file(member: Member, target: str) -> Iterator[IO[bytes]]:
    """Give a new file, which is as the member says when the block ends."""
    _remove(target)
    try:
        descriptor = os.open(target, _FILE, 0o600)
    except FileNotFoundError:  # a copy does not name the folders that its base has
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)  # noqa: PTH103, PTH120
        descriptor = os.open(target, _FILE, 0o600)
    with open(descriptor, "wb") as file:
        yield file
        file.flush()
        os.fchown(descriptor, member.owner, member.group)
        os.fchmod(descriptor, member.mode & 0o7777)
        os.utime(descriptor, ns=(member.modified_ns, member.modified_ns))


def _remove(target: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(target)  # noqa: PTH108 - as in _create_folder


def _create_folder(member: Member, target: str) -> None:
    try:
        os.mkdir(target)  # noqa: PTH102 - Path.mkdir takes three times as long
    except FileExistsError:
        if not stat.S_ISDIR(os.lstat(target).st_mode):
            raise ValueError(f"{member.name!r} is there twice") from None
    os.chown(target, member.owner, member.group)
    os.chmod(target, member.mode & 0o7777)  # noqa: PTH101 - as for mkdir
