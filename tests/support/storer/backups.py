"""Backups for tests: made, taken apart, and restored."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import zstandard

from cyberdojo.storer.v1 import storer_pb2
from dojo.chunks import rechunk
from support.storer.storing import Katas, Stub, content_of

OUTCOMES = storer_pb2.RestoreOutcome


@dataclass(frozen=True)
class Backup:
    """A backup that came to its end."""

    tar: bytes
    token: str
    filename: str

    @property
    def manifest(self) -> dict[str, Any]:
        """Its last member."""
        manifest: dict[str, Any] = json.loads(contents(self.tar)["backup.json"])
        return manifest

    @property
    def states(self) -> dict[str, str]:
        """What it says of each kata."""
        return {each["kata_id"]: each["state"] for each in self.manifest["katas"]}


@dataclass
class Restored:
    """What RestoreKatas answered, and how it ended."""

    outcomes: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    token: str = ""


def backup(katas: Katas, **fields: Any) -> Backup:
    """Make a backup, to its end."""
    parts = list(katas.stub.BackupKatas(storer_pb2.BackupKatasRequest(**fields)))
    header = parts[0].header
    return Backup(content_of(parts), header.token, header.filename)


def restore_into(
    katas: Katas | Stub, tar: bytes, into: Restored | None = None, **header: bool
) -> Restored:
    """Restore katas; what was reported before an error is in `into`."""
    stub = katas.stub if isinstance(katas, Katas) else katas
    found = Restored() if into is None else into
    for each in stub.RestoreKatas(requests(tar, **header)):
        if each.HasField("report"):
            outcome = name_of(each.report.outcome)
            found.outcomes[each.report.kata_id] = outcome
            found.reasons[each.report.kata_id] = each.report.reason
        else:
            found.token = each.summary.token
            found.counts = {name_of(count.outcome): count.katas for count in each.summary.counts}
    return found


def name_of(outcome: Any) -> str:
    """Return the name of an outcome, without what all begin with."""
    return OUTCOMES.Name(outcome).removeprefix("RESTORE_OUTCOME_").lower()


def requests(tar: bytes, **header: bool) -> Iterator[storer_pb2.RestoreKatasRequest]:
    """Yield what RestoreKatas is sent for a tar."""
    told = storer_pb2.RestoreKatasHeader(**header)
    yield storer_pb2.RestoreKatasRequest(header=told)
    for data in rechunk([tar]):
        yield storer_pb2.RestoreKatasRequest(data=data)
    end = storer_pb2.StreamEnd(size_bytes=len(tar), sha256=hashlib.sha256(tar).digest())
    yield storer_pb2.RestoreKatasRequest(end=end)


def contents(tar: bytes) -> dict[str, bytes]:
    """Return the files of a tar; it has to be whole, and no file is there twice."""
    if tar[:4] == b"\x28\xb5\x2f\xfd":
        tar = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(tar)).read()
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        for member in archive:
            if member.isreg():
                assert member.name not in found
                file = archive.extractfile(member)
                assert file is not None
                found[member.name] = file.read()
    return found


def seal_of(tar: bytes, kata_id: str) -> dict[str, Any]:
    """Return what the tar says behind a kata."""
    seal: dict[str, Any] = json.loads(contents(tar)[f"{kata_id[:2]}/{kata_id[2:]}.json"])
    return seal
