"""The audit log says of a stream that it is done as soon as the caller can have its end."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from cyberdojo.storer.v1 import storer_pb2
from dojo.chunks import Digest
from dojo.engine.data_containers import DataContainers
from dojo.naming import Namespace
from storer.app import build
from storer.settings import StorerSettings


def outcomes(tmp_path: Path, call: str, request: Any, last: str) -> list[tuple[str, str]]:
    """Return what the audit log says of a call whose caller leaves with the part `last`."""
    no_engine: Any = None
    audit_file = tmp_path / "audit.log"

    async def main() -> None:
        katas = DataContainers(no_engine, Namespace("test-audit"), tmp_path)
        katas.backups_folder.mkdir(parents=True)
        storer = build(StorerSettings(audit_file=audit_file), katas)
        parts = getattr(storer.servicer, call)(request, None)
        async for part in parts:
            if not isinstance(part, bytes) and part.WhichOneof("part") == last:
                break
        await parts.aclose()

    asyncio.run(main())
    lines = [json.loads(line) for line in audit_file.read_text().splitlines()]
    return [(line["action"], line["outcome"]) for line in lines]


async def sent(data: bytes) -> AsyncIterator[storer_pb2.RestoreKatasRequest]:
    digest = Digest()
    digest.update(data)
    yield storer_pb2.RestoreKatasRequest(header=storer_pb2.RestoreKatasHeader())
    yield storer_pb2.RestoreKatasRequest(data=data)
    end = storer_pb2.StreamEnd(size_bytes=digest.size_bytes, sha256=digest.sha256)
    yield storer_pb2.RestoreKatasRequest(end=end)


def test_a_caller_who_leaves_with_the_end_of_a_backup_has_interrupted_nothing(
    tmp_path: Path,
) -> None:
    request = storer_pb2.BackupKatasRequest()
    assert outcomes(tmp_path, "BackupKatas", request, "end") == [("BackupKatas", "done")]


def test_a_caller_who_leaves_before_the_end_has_interrupted_the_backup(tmp_path: Path) -> None:
    request = storer_pb2.BackupKatasRequest()
    assert outcomes(tmp_path, "BackupKatas", request, "header") == [("BackupKatas", "interrupted")]


def test_a_caller_who_leaves_with_the_summary_of_a_restore_has_interrupted_nothing(
    tmp_path: Path,
) -> None:
    done = outcomes(tmp_path, "RestoreKatas", sent(bytes(10_240)), "summary")
    assert done == [("RestoreKatas", "done")]
