"""The main job with TLS and tokens, by real services and everything of ours that calls them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc
import pytest

from cyberdojo.runner.v1 import runner_pb2, runner_pb2_grpc
from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from dojo.access.roles import Role
from dojo.channels import open_channel
from dojo.engine.client import Engine
from dojo.engine.data_containers import DataContainers
from dojo.naming import Namespace
from dojo.service.settings import CallerSettings, load
from support.access import Files, make_files
from support.commands import COMMAND
from support.paths import TOP
from support.services import Service, code_of, run_healthcheck, wait_until
from support.storer.fixtures import delete_all


@dataclass(frozen=True)
class Protected:
    """Both services, with TLS and tokens, and what is set for who calls them."""

    storer: Service
    runner: Service
    files: Files
    environ: dict[str, str]

    def token(self, role: Role) -> str:
        """Return the token of a role."""
        return self.files.tokens[role]

    def run(self, *command: str, role: Role = Role.OPERATOR) -> subprocess.CompletedProcess[str]:
        """Run a command with the token of a role."""
        environ = {**os.environ, **self.environ, "CYBER_DOJO_TOKEN": self.token(role)}
        return subprocess.run(
            command, cwd=TOP, env=environ, capture_output=True, text=True, check=False
        )


@pytest.fixture(autouse=True)
def _tidy(data_containers: DataContainers) -> Iterator[None]:
    """Deletes the kata of a demo that failed."""
    yield
    delete_all(data_containers)


@pytest.fixture
def protected(
    start_service: Callable[..., Service], engine: Engine, namespace: Namespace, tmp_path: Path
) -> Iterator[Protected]:
    """Services that know their callers."""
    files = make_files(tmp_path)
    (tmp_path / "ca.pem").write_bytes(files.ca.certificate)
    (tmp_path / "token").write_text(files.tokens[Role.WEB])
    settings = {
        "CYBER_DOJO_TLS_CERTIFICATE": str(tmp_path / "server.pem"),
        "CYBER_DOJO_TLS_KEY": str(tmp_path / "server.key"),
        "CYBER_DOJO_CALLERS": str(files.callers),
    }
    storer = start_service(
        "storer",
        CYBER_DOJO_ARCHIVE=str(tmp_path / "archive"),
        CYBER_DOJO_AUDIT_FILE=str(tmp_path / "audit.log"),
        CYBER_DOJO_MAX_GUESSES_PER_HOUR="10",
        **settings,
    )
    try:
        runner = start_service(
            "runner",
            CYBER_DOJO_STORER=storer.address,
            CYBER_DOJO_CA=str(tmp_path / "ca.pem"),
            CYBER_DOJO_TOKEN_FILE=str(tmp_path / "token"),
            **settings,
        )
        environ = {
            "CYBER_DOJO_CA": str(tmp_path / "ca.pem"),
            "CYBER_DOJO_STORER": storer.address,
            "CYBER_DOJO_NAMESPACE": namespace.name,
            "DOCKER_HOST": engine.url,
        }
        yield Protected(storer, runner, files, environ)
        runner.stop()
    finally:
        storer.stop()


def test_the_main_job_is_done_with_tls_and_tokens(
    protected: Protected, data_containers: DataContainers
) -> None:
    addresses = ("--storer", protected.storer.address, "--runner", protected.runner.address)
    done = protected.run(sys.executable, "scripts/demo.py", "--keep", *addresses)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the next test works" in done.stdout
    for service in (protected.storer, protected.runner):
        assert run_healthcheck(service.address, **protected.environ).returncode == 0

    # The runner has the storer bring the kata back from the archive, with a token of its own.
    listed = protected.run(*COMMAND, "ls", "--json")
    kata_id = json.loads(listed.stdout)["id"]
    web = load(CallerSettings, {**protected.environ, "CYBER_DOJO_TOKEN": protected.token(Role.WEB)})
    with (
        open_channel(protected.storer.address, web) as storer_channel,
        open_channel(protected.runner.address, web) as runner_channel,
    ):
        storer = storer_pb2_grpc.StorerServiceStub(storer_channel)
        runner = runner_pb2_grpc.RunnerServiceStub(runner_channel)
        (avatar,) = storer.GetKata(storer_pb2.GetKataRequest(kata_id=kata_id)).avatars
        own = {"kata_id": kata_id, "avatar": avatar}
        runner.Release(runner_pb2.ReleaseRequest(**own))
        wait_until(lambda: not data_containers.holders(kata_id))
        archived = protected.run(*COMMAND, "archive", kata_id)
        assert archived.returncode == 0, archived.stderr
        image = "cyberdojofoundation/gcc_assert"
        runner.Prepare(runner_pb2.PrepareRequest(**own, image_name=image))
        undelete = storer_pb2.ImportKataRequest(kata_id=kata_id, undelete=True)
        denied = grpc.StatusCode.PERMISSION_DENIED
        assert code_of(partial(storer.ImportKata, undelete)) is denied
        # Parts of ids that complete to nothing count as five ids each.
        parts = [storer_pb2.CompleteKataIdRequest(partial_id=f"{each:06}") for each in range(3)]
        codes = [code_of(partial(storer.CompleteKataId, each)) for each in parts]
        exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED
        assert codes == [grpc.StatusCode.OK, grpc.StatusCode.OK, exhausted]
        unknown = storer_pb2.GetKataRequest(kata_id="0000000000")
        assert code_of(partial(storer.GetKata, unknown)) is exhausted
        storer.GetKata(storer_pb2.GetKataRequest(kata_id=kata_id))  # as it was used before
        files = {"cyber-dojo.sh": b"true\n"}
        manifest = storer_pb2.Manifest(display_name="a", image_name=image, files=files)
        made = storer.CreateKata(storer_pb2.CreateKataRequest(manifest=manifest)).kata_id
        storer.GetKata(storer_pb2.GetKataRequest(kata_id=made))
    protected.storer.wait_for_event(
        lambda event: event["event"] == "kata imported" and event["caller"] == "web"
    )

    refused = protected.run(*COMMAND, "rm", "--yes", kata_id, role=Role.WEB)
    assert refused.returncode == 5
    assert refused.stderr == "cyber-dojo: web has the role web; DeleteKata takes operator\n"
    assert protected.run(*COMMAND, "rm", "--yes", kata_id).returncode == 0
    deleted = protected.storer.wait_for_event(lambda event: event["event"] == "kata deleted")
    assert (deleted["kata"], deleted["caller"]) == (kata_id, "operator")
    assert deleted["address"].startswith("127.0.0.1:")
    recorded = protected.storer.wait_for_event(lambda event: event["event"] == "test recorded")
    assert (recorded["kata"], recorded["caller"], recorded["light"]) == (kata_id, "operator", 1)

    assert protected.run(*COMMAND, "backup", "-o", "/dev/null").returncode == 0
    audit = (protected.files.folder / "audit.log").read_text()
    lines = [json.loads(line) for line in audit.splitlines()]
    assert [(line["action"], line.get("kata"), line["outcome"]) for line in lines] == [
        ("ArchiveKata", kata_id, "done"),
        ("DeleteKata", kata_id, "done"),
        ("BackupKatas", None, "done"),
    ]
    assert {line["caller"] for line in lines} == {"operator"}

    logged = audit + json.dumps([protected.storer.events(), protected.runner.events()])
    assert not [role for role in Role if protected.token(role) in logged]
