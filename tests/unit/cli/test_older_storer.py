"""Commands say so when a storer is older than they are, and change nothing there.

A server that lacks what is new stands for one: no older version can be installed beside this one.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from support.commands import CommandLine
from unit.cli.test_backup_file import TOKEN, backup


class OlderStorer(storer_pb2_grpc.StorerServiceServicer):
    """A storer that does not know `dry_run`, and makes a backup; it has no other RPC."""

    def BackupKatas(
        self, request: storer_pb2.BackupKatasRequest, context: grpc.ServicerContext
    ) -> Iterator[storer_pb2.BackupKatasResponse]:
        """Begin a backup, which is made when its last part was taken."""
        header = storer_pb2.BackupKatasHeader(token=TOKEN)
        yield storer_pb2.BackupKatasResponse(header=header)
        while context.is_active():
            yield storer_pb2.BackupKatasResponse(data=bytes(64 * 1024))


@pytest.fixture
def line(tmp_path: Path) -> Iterator[CommandLine]:
    """A command line that calls an older storer."""
    server: Any = grpc.server(ThreadPoolExecutor(4))
    storer: Any = OlderStorer  # abstract, as it lacks RPCs
    storer_pb2_grpc.add_StorerServiceServicer_to_server(storer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield CommandLine(f"127.0.0.1:{port}", tmp_path)
    server.stop(None).wait()


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "--runner", "127.0.0.1:1"],
        ["backups", "list"],
        ["backup", "--dry-run"],
        ["backups", "check", "full.tar", "--until", "2024-01-01"],
    ],
)
def test_an_older_storer_is_named_and_makes_no_backup(
    line: CommandLine, arguments: list[str]
) -> None:
    (line.folder / "full.tar").write_bytes(backup())
    done = line.run(*arguments)
    assert f"the storer at {line.address} is older than this command: update it" in done.complaint
    assert done.code in {4, 5}
    assert "no backup was made" not in done.complaint
