"""Verify an archived kata: read its tars, and compare each git object with its name.

One file at a time is in memory. On disk are only the small files that say what the index of the
archive should have, for as long as the check takes.
"""

import re
import tarfile
import tempfile
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import zstandard

from dojo import kata_ids
from dojo.engine.data_containers import MANIFEST
from dojo.errors import ArchiveDamaged, KataNotFound
from dojo.naming import DAMAGED_JSON
from storer.archive import index
from storer.archive.archive import Archive, SealedReader
from storer.archive.index import IndexEntry
from storer.fs import json_files
from storer.fs.json_files import Unreadable
from storer.git import loose_objects
from storer.kata import damaged, details
from storer.kata.lights import INCREMENTS
from storer.verify.findings import Finding, Kind

_OBJECT = re.compile(r"(?:[^/]+/){3}\.git/objects/([0-9a-f]{2})/([0-9a-f]{38})\Z")
_DAMAGED = re.compile(rf"(?:[^/]+/){{3}}{re.escape(DAMAGED_JSON)}\Z")
_MAX_BYTES = 256 * 1024**2  # larger than any object of a kata; each is read into memory
# What a list shows of a kata is in these.
_LISTED = re.compile(
    rf"(?:[^/]+/){{2}}({MANIFEST}|[a-z]+/(?:{re.escape(INCREMENTS)}|{re.escape(DAMAGED_JSON)}))\Z"
)
_MAX_LISTED_BYTES = 4 * 1024**2  # some 40,000 lights


@dataclass(frozen=True, slots=True)
class ArchivedResult:
    """The result of verifying an archived kata."""

    findings: list[Finding]
    size_bytes: int
    index_entry: IndexEntry | None


def check(archive: Archive, kata_id: str) -> ArchivedResult | None:
    """Verify an archived kata and its copies; return None if it is not in the archive.

    The result has the index entry that the kata should have; None if its tar is damaged, or was
    replaced meanwhile.
    Raises ArchiveUnavailable.
    """
    with tempfile.TemporaryDirectory() as small:
        folder = Path(small)
        before = archive.find(kata_id)
        try:
            tar = archive.open(kata_id)
            findings, size_bytes = _check_tar(tar, kata_id, folder, has_all=True)
            for copy in archive.copies(kata_id):
                tar = archive.open_copy(kata_id, copy)
                found, more_bytes = _check_tar(tar, kata_id, folder, has_all=False)
                findings += found
                size_bytes += more_bytes
        except KataNotFound:
            return None
        entry = None
        if not any(each.kind is Kind.ARCHIVE for each in findings):
            listed = details.read(folder, kata_id)
            if before is not None and listed is not None and archive.find(kata_id) == before:
                version = index.version(archive, before)
                entry = IndexEntry(listed, before.size_bytes, version)
    return ArchivedResult(findings, size_bytes, entry)


def check_index(archive: Archive, kata_id: str, entry: IndexEntry) -> Finding | None:
    """Return what is wrong with a kata's entry in the index, which should be `entry`.

    Raises ArchiveUnavailable.
    """
    if index.has(archive, kata_id, entry):
        return None

    def mend() -> None:
        archive.write_index(kata_id, index.dump(entry))

    return Finding("", Kind.STALE, "its entry in the index of the archive is missing or old", mend)


def _check_tar(
    opened: AbstractContextManager[SealedReader], kata_id: str, small: Path, *, has_all: bool
) -> tuple[list[Finding], int]:
    """Return what is wrong with a tar, and how many bytes its files have.

    A tar that `has_all` of a kata must have its manifest.json; a copy need not. Files that a list
    shows something of are written into the folder `small`.
    """
    findings: list[Finding] = []
    size_bytes = 0
    try:
        with opened as sealed:
            decompressor = zstandard.ZstdDecompressor(max_window_size=2**27)
            stream = decompressor.stream_reader(cast("IO[bytes]", sealed), read_across_frames=True)
            with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r|") as tar:
                manifest = f"{kata_ids.outer(kata_id)}/{kata_ids.inner(kata_id)}/{MANIFEST}"
                has_manifest = False
                for member in tar:
                    tar.members = []  # type: ignore[attr-defined]  # else it collects all headers
                    size_bytes += member.size
                    has_manifest = has_manifest or member.name == manifest
                    content = _content(tar, member)
                    _keep(content, member, small)
                    findings += _check_member(content, member, kata_id, manifest)
                if has_all and not has_manifest:
                    findings.append(Finding(MANIFEST, Kind.ARCHIVE, "it is missing in the archive"))
    except ArchiveDamaged as error:
        findings.append(Finding("", Kind.ARCHIVE, str(error)))
    except (tarfile.TarError, zstandard.ZstdError, EOFError, ValueError) as error:
        findings.append(Finding("", Kind.ARCHIVE, f"the archived tar can't be read: {error}"))
    return findings, size_bytes


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | None:
    """Return the content of a member that is looked at, None of any other."""
    is_read = any(each.match(member.name) for each in (_OBJECT, _DAMAGED, _LISTED))
    if member.size > _MAX_BYTES or not member.isreg() or not is_read:
        return None
    file = tar.extractfile(member)
    return file.read() if file is not None else b""


def _keep(content: bytes | None, member: tarfile.TarInfo, small: Path) -> None:
    """Write a member that a list shows something of into the folder `small`."""
    match = _LISTED.match(member.name)
    if match and content is not None and len(content) <= _MAX_LISTED_BYTES:
        path = small / match[1]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)


def _check_member(
    content: bytes | None, member: tarfile.TarInfo, kata_id: str, manifest: str
) -> list[Finding]:
    match, is_damaged = _OBJECT.match(member.name), _DAMAGED.match(member.name)
    if content is None or not (match or is_damaged or member.name == manifest):
        return []
    path = "/".join(member.name.split("/")[2:])
    try:
        if match:
            loose_objects.parse(content, match[1] + match[2])
        elif is_damaged:
            damage = damaged.parse(json_files.loads(content, dict))
            what = f"in the archive: the avatar came in damaged: {damage.path}: {damage.reason}"
            return [Finding(path, Kind.DAMAGED, what)]
        else:
            stated_id = json_files.loads(content, dict).get("id", kata_id)
            if stated_id != kata_id:
                return [Finding(path, Kind.ARCHIVE, f"its id is {stated_id!r}")]
    except (ValueError, Unreadable) as error:
        return [Finding(path, Kind.ARCHIVE, f"in the archive: {error}")]
    return []
