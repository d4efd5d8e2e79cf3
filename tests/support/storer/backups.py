"""Backups for tests: make, inspect and restore them."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard

from cyberdojo.storer.v1 import storer_pb2
from dojo.chunks import rechunk
from support.storer.storing import Katas, Stub, content_of

OUTCOMES = storer_pb2.RestoreOutcome


@dataclass(frozen=True)
class Backup:
    """A complete backup."""

    tar: bytes
    token: str
    filename: str
    failures: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def manifest(self) -> dict[str, Any]:
        """The content of backup.json, the last member."""
        manifest: dict[str, Any] = json.loads(contents(self.tar)["backup.json"])
        return manifest

    @property
    def states(self) -> dict[str, str]:
        """The state of each kata, from backup.json."""
        return {each["kata_id"]: each["state"] for each in self.manifest["katas"]}


@dataclass
class Restored:
    """The answer of RestoreKatas: its reports, by kata id, and its summary."""

    outcomes: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    lost_lights: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    token: str = ""


def backup(katas: Katas, **fields: Any) -> Backup:
    """Make a complete backup."""
    parts = list(katas.stub.BackupKatas(storer_pb2.BackupKatasRequest(**fields)))
    header = parts[0].header
    failures = {
        part.failure.kata_id: part.failure.reason for part in parts if part.HasField("failure")
    }
    summary = parts.pop(-2).summary
    counts = {field.name.removesuffix("_count"): count for field, count in summary.ListFields()}
    content = content_of([part for part in parts if not part.HasField("failure")])
    return Backup(content, header.token, header.filename, failures, counts)


def restore_into(
    katas: Katas | Stub, tar: bytes, into: Restored | None = None, **header: Any
) -> Restored:
    """Restore katas; add the answer to `into`, which keeps the reports before an error."""
    stub = katas.stub if isinstance(katas, Katas) else katas
    restored = Restored() if into is None else into
    for each in stub.RestoreKatas(requests(tar, **header)):
        if each.HasField("report"):
            outcome = name_of(each.report.outcome)
            restored.outcomes[each.report.kata_id] = outcome
            restored.reasons[each.report.kata_id] = each.report.reason
            if each.report.HasField("left_out"):
                restored.left_out[each.report.kata_id] = list(each.report.left_out.names)
            restored.lost_lights[each.report.kata_id] = each.report.lost_light_count
        else:
            restored.token = each.summary.token
            restored.counts = {name_of(count.outcome): count.katas for count in each.summary.counts}
    return restored


def name_of(outcome: Any) -> str:
    """Return the name of an outcome, without the prefix of the enum."""
    return OUTCOMES.Name(outcome).removeprefix("RESTORE_OUTCOME_").lower()


def requests(tar: bytes, **header: Any) -> Iterator[storer_pb2.RestoreKatasRequest]:
    """Yield the requests by which RestoreKatas gets a tar."""
    yield storer_pb2.RestoreKatasRequest(header=storer_pb2.RestoreKatasHeader(**header))
    for data in rechunk([tar]):
        yield storer_pb2.RestoreKatasRequest(data=data)
    end = storer_pb2.StreamEnd(size_bytes=len(tar), sha256=hashlib.sha256(tar).digest())
    yield storer_pb2.RestoreKatasRequest(end=end)


def contents(tar: bytes) -> dict[str, bytes]:
    """Return the files of a tar; check that the tar is whole and has no file twice."""
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


def become_unreadable(kata: Path) -> None:
    """Make a kata's manifest.json a file that no backup can read."""
    (kata / "manifest.json").rename(kata / ".elsewhere")
    (kata / "manifest.json").symlink_to(".elsewhere")


def seal_of(tar: bytes, kata_id: str) -> dict[str, Any]:
    """Return the seal of a kata, which a backup has behind the kata."""
    seal: dict[str, Any] = json.loads(contents(tar)[f"{kata_id[:2]}/{kata_id[2:]}.json"])
    return seal
