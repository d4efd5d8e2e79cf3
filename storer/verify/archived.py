"""Verify an archived kata: read its tars, and compare each git object with its name.

Nothing is extracted to disk, and one file at a time is in memory.
"""

import re
import tarfile
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, cast

import zstandard

from dojo import kata_ids
from dojo.engine.data_containers import MANIFEST
from dojo.errors import ArchiveDamaged, KataNotFound
from dojo.naming import DAMAGED_JSON
from storer.archive.archive import Archive, SealedReader
from storer.fs import json_files
from storer.fs.json_files import Unreadable
from storer.git import loose_objects
from storer.kata import damaged
from storer.verify.findings import Finding, Kind

_OBJECT = re.compile(r"(?:[^/]+/){3}\.git/objects/([0-9a-f]{2})/([0-9a-f]{38})\Z")
_DAMAGED = re.compile(rf"(?:[^/]+/){{3}}{re.escape(DAMAGED_JSON)}\Z")
_MAX_BYTES = 256 * 1024**2  # larger than any object of a kata; each is read into memory


@dataclass(frozen=True, slots=True)
class ArchivedResult:
    """The result of verifying an archived kata."""

    findings: list[Finding]
    size_bytes: int


def check(archive: Archive, kata_id: str) -> ArchivedResult | None:
    """Verify an archived kata and its copies; return None if it is not in the archive.

    Raises ArchiveUnavailable.
    """
    try:
        findings, size_bytes = _check_tar(archive.open(kata_id), kata_id, has_all=True)
        for copy in archive.copies(kata_id):
            found, more_bytes = _check_tar(archive.open_copy(kata_id, copy), kata_id, has_all=False)
            findings += found
            size_bytes += more_bytes
    except KataNotFound:
        return None
    return ArchivedResult(findings, size_bytes)


def _check_tar(
    opened: AbstractContextManager[SealedReader], kata_id: str, *, has_all: bool
) -> tuple[list[Finding], int]:
    """Return what is wrong with a tar, and how many bytes its files have.

    A tar that `has_all` of a kata must have its manifest.json; a copy need not.
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
                    findings += _check_member(tar, member, kata_id, manifest)
                if has_all and not has_manifest:
                    findings.append(Finding(MANIFEST, Kind.ARCHIVE, "it is missing in the archive"))
    except ArchiveDamaged as error:
        findings.append(Finding("", Kind.ARCHIVE, str(error)))
    except (tarfile.TarError, zstandard.ZstdError, EOFError, ValueError) as error:
        findings.append(Finding("", Kind.ARCHIVE, f"the archived tar can't be read: {error}"))
    return findings, size_bytes


def _check_member(
    tar: tarfile.TarFile, member: tarfile.TarInfo, kata_id: str, manifest: str
) -> list[Finding]:
    match, is_damaged = _OBJECT.match(member.name), _DAMAGED.match(member.name)
    is_checked = match or is_damaged or member.name == manifest
    if member.size > _MAX_BYTES or not member.isreg() or not is_checked:
        return []
    file = tar.extractfile(member)
    content = file.read() if file is not None else b""
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
