"""Unpack untrusted tars of katas into a katas directory.

Only files and folders of katas are unpacked, and no name leads out of the directory. From a damaged
tar the katas before the damage are unpacked.
"""

import gzip
import lzma
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

import zstandard

from dojo import kata_ids

SUFFIXES = (".tgz", ".tar", ".tar.gz", ".tar.zst", ".tzst", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

# More than any kata needs, and little enough that a tar of zeros does not fill the disk.
MAX_MEMBER_BYTES = 1024**3

_MODES = {b"\x1f\x8b": "r|gz", b"BZ": "r|bz2", b"\xfd7zXZ": "r|xz"}
_ZSTD = b"\x28\xb5\x2f\xfd"

_BROKEN = (
    *(tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zstandard.ZstdError),
    *(EOFError, ValueError, OSError),
)


def is_tar(path: Path) -> bool:
    """Return whether a file's name is that of a tar."""
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith("._")


def unpack(tar: Path, into: Path) -> str:
    """Unpack a tar's katas into a katas directory; return what is wrong with the tar, or nothing.

    A kata that is there already stays as it is. The kata in which a tar is damaged is left out.
    """
    newest = ""
    before: set[str] = set()
    seen: set[str] = set()
    try:
        with _opened(tar) as archive:
            for member in archive:
                kata_id, path = _place(member.name)
                if not kata_id:
                    continue
                if kata_id not in seen:
                    seen.add(kata_id)
                    if _folder(into, kata_id).exists():
                        before.add(kata_id)
                if kata_id in before:
                    continue
                newest = kata_id
                _put(archive, member, _folder(into, kata_id) / path)
    except _BROKEN as error:
        if newest:
            shutil.rmtree(_folder(into, newest), ignore_errors=True)
        return f"is damaged: {error or type(error).__name__}"
    return "" if seen else "holds no kata"


def _folder(directory: Path, kata_id: str) -> Path:
    return directory / kata_ids.outer(kata_id) / kata_ids.inner(kata_id)


def _place(name: str) -> tuple[str, PurePosixPath]:
    """Return the kata that a member belongs to, and its path there; an empty id if none.

    The kata's folder is the first two parts of the name that make up an id, `49/3A06504A`. Parts
    before them are ignored.
    """
    parts = [part for part in PurePosixPath(name).parts if part not in {"/", "."}]
    if ".." in parts:
        return "", PurePosixPath()
    for place in range(len(parts) - 1):
        outer, inner = parts[place : place + 2]
        if len(outer) == len(kata_ids.outer(outer)) and kata_ids.is_whole(outer + inner):
            return outer + inner, PurePosixPath(*parts[place + 2 :])
    return "", PurePosixPath()


def _put(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
    elif member.isreg() and not member.issparse():
        if member.size > MAX_MEMBER_BYTES:
            raise tarfile.ReadError(f"{member.name!r} has {member.size} bytes")
        path.parent.mkdir(parents=True, exist_ok=True)
        content = archive.extractfile(member)
        if content is not None:
            with path.open("wb") as file:
                shutil.copyfileobj(content, file)
            if path.stat().st_size != member.size:
                raise tarfile.ReadError(f"{member.name!r} is incomplete")
    # Links and files with holes are left out: a run made them, and a replay repeats the runs.


@contextmanager
def _opened(tar: Path) -> Iterator[tarfile.TarFile]:
    with tar.open("rb") as file:
        magic = file.peek(8)
        if magic.startswith(_ZSTD):
            decompressor = zstandard.ZstdDecompressor()
            with decompressor.stream_reader(file, read_across_frames=True) as stream:
                yield _archive(stream, "r|")
            return
        mode = next((mode for start, mode in _MODES.items() if magic.startswith(start)), "r|")
        yield _archive(file, mode)


def _archive(stream: IO[bytes], mode: str) -> tarfile.TarFile:
    return tarfile.open(fileobj=stream, mode=mode)  # type: ignore[call-overload,no-any-return]
