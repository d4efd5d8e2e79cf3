"""The values in etcd of a kata's records: the content itself or, if it is large, where that is.

A large content is a file in the archive, under a name of its own that nobody writes twice.
"""

import hashlib
import json
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import structlog
import zstandard

from dojo import chunks
from dojo.errors import ArchiveDamaged, ArchiveUnavailable, KataDamaged
from storer.archive.archive import Archive
from storer.fs.write_ahead_log import Entry, decode, encode

# etcd refuses requests of more than 1.5 MiB, if nobody tells it otherwise, and keeps all in memory.
MAX_INLINE_BYTES = 512 * 1024

_log = structlog.get_logger()

_INLINE, _STORED = b"=", b"@"


@dataclass(frozen=True)
class Base:
    """What a kata began with: its files by name, or the name of a tar of it in the archive."""

    files: dict[str, bytes]
    tar: str = ""


class Records:
    """Writes and reads the values of records. Any thread may use it."""

    def __init__(self, archive: Archive) -> None:
        """Put what is large into this archive."""
        self._archive = archive

    def of_entry(self, kata_id: str, entry: Entry) -> bytes:
        """Return the value of a light or an edit. Raises ArchiveUnavailable or DiskFull."""
        parts = encode(entry)
        return self._value(kata_id, parts, sum(map(len, parts)))

    def entry(self, kata_id: str, value: bytes) -> Entry:
        """Return the light or edit of a value. Raises KataDamaged, ArchiveUnavailable or others."""
        return decode(memoryview(self.content(kata_id, value)))

    def of_files(self, kata_id: str, files: dict[str, bytes]) -> bytes:
        """Return the value of a base that has these files. Raises as `of_entry`."""
        texts = {
            name: content.decode("utf-8", "surrogateescape") for name, content in files.items()
        }
        content = zstandard.ZstdCompressor().compress(json.dumps({"files": texts}).encode())
        return self._value(kata_id, [content], len(content))

    def of_tar(self, kata_id: str, pieces: Iterator[bytes]) -> bytes:
        """Return the value of a base that is a compressed tar, as the archive has them."""
        name = secrets.token_hex(16)
        self._archive.put_body(kata_id, name, pieces)
        content = zstandard.ZstdCompressor().compress(json.dumps({"tar": name}).encode())
        return _INLINE + content

    def base(self, kata_id: str, value: bytes) -> Base:
        """Return the base of a value. Raises as `entry`."""
        content = self.content(kata_id, value)
        decompressor = zstandard.ZstdDecompressor().decompressobj()
        found = json.loads(decompressor.decompress(content))
        if "tar" in found:
            return Base({}, str(found["tar"]))
        files = found["files"].items()
        return Base({name: text.encode("utf-8", "surrogateescape") for name, text in files})

    def of_bytes(self, kata_id: str, content: bytes) -> bytes:
        """Return the value of a small file. Raises as `of_entry`."""
        return self._value(kata_id, [content], len(content))

    def bodies_of(self, kata_id: str, value: bytes, *, is_base: bool = False) -> list[str]:
        """Return the names of what a value, of a base or of another record, has in the archive.

        Raises as `entry`.
        """
        found = [json.loads(value[1:])["name"]] if value.startswith(_STORED) else []
        if is_base and (tar := self.base(kata_id, value).tar):
            found.append(tar)
        return found

    def bodies(self, kata_id: str) -> list[str]:
        """Return the names of all that a kata's values have in the archive, or had.

        Raises ArchiveUnavailable.
        """
        return self._archive.bodies(kata_id)

    def discard(self, kata_id: str, names: Iterable[str]) -> None:
        """Delete from the archive what no record names any more, by its names."""
        try:
            for name in names:
                self._archive.delete_body(kata_id, name)
        except ArchiveUnavailable as error:  # it stays until the kata is archived or deleted
            _log.warning("not discarded", kata=kata_id, reason=str(error))

    def _value(self, kata_id: str, parts: Iterable[bytes], size_bytes: int) -> bytes:
        if size_bytes <= MAX_INLINE_BYTES:
            return b"".join((_INLINE, *parts))
        name, digest = secrets.token_hex(16), hashlib.sha256()
        for part in parts:
            digest.update(part)
        self._archive.put_body(kata_id, name, chunks.rechunk(iter(parts)))
        stored = {"name": name, "sha256": digest.hexdigest()}
        return _STORED + json.dumps(stored).encode()

    def content(self, kata_id: str, value: bytes) -> bytes:
        """Return the content of a value. Raises as `entry`."""
        kind, rest = value[:1], value[1:]
        if kind == _INLINE:
            return rest
        if kind != _STORED:
            raise KataDamaged(kata_id, "etcd", f"a record begins with {kind!r}")
        stored = json.loads(rest)
        with self._archive.open_body(kata_id, stored["name"]) as body:
            content = body.read()
            body.finish()
        if hashlib.sha256(content).hexdigest() != stored["sha256"]:
            raise ArchiveDamaged(body.key, "it is not what its record says")
        return content
