"""Backups are made and restored by the commands that docs/ has, as they stand there.

What a suite can't have is replaced: the namespace, ports and folders, which others may use; and the
building of images, which are those that `make images` built.
"""

import contextlib
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import docker.errors
import pytest

from cyberdojo.storer.v1 import storer_pb2
from dojo.engine.client import Engine
from dojo.engine.data_containers import DataContainers
from dojo.naming import LABEL, Namespace
from support.commands import COMMAND
from support.paths import TOP
from support.services import Service, free_ports
from support.storer.storing import FILES, Katas

SUNDAY, MONDAY = "2026-03-01", "2026-03-02"
LIVE = "env -u CYBER_DOJO_SETTINGS_FILE"  # begins what is asked of the pair that runs


def code_in(page: str, title: str) -> list[str]:
    """Return the blocks of code in a section of a page."""
    section = (TOP / "docs" / page).read_text().split(f"# {title}\n")[1]
    section = re.split(r"(?m)^##+ ", section)[0]
    blocks = re.findall(r"(?m)(?:^    .*\n(?:\n(?=    ))?)+", section)
    return [re.sub(r"(?m)^    ", "", each) for each in blocks]


def replaced(code: str, replacements: Mapping[str, str]) -> str:
    """Replace texts in code; each has to be there."""
    for text, replacement in replacements.items():
        assert text in code, text
        code = code.replace(text, replacement)
    return code


def run(code: str, **environ: str) -> str:
    """Run code in bash, in the checkout; return its output."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CYBER_DOJO_")}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=TOP,
        env={**kept, **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def nightly(storer: Service, tmp_path: Path) -> Callable[[str], object]:
    """Makes the backup of a night by the page's script, in the folder `backups`."""
    script, *_ = code_in("running.md", "Each night")
    programs, backups = tmp_path / "bin", tmp_path / "backups"
    for folder in (programs, backups):
        folder.mkdir()
    scripts = {
        "cyber-dojo": " ".join(["exec", *COMMAND, '"$@"']),
        "date": f'exec {shutil.which("date")} --date "$NIGHT" "$@"',
    }
    for name, line in scripts.items():
        (programs / name).write_text(f"#!/bin/sh\n{line}\n")
        (programs / name).chmod(0o755)
    code = replaced(
        script,
        {"/var/backups/cyber-dojo": str(backups), "/opt/cyber-dojo/.venv/bin": str(programs)},
    )

    def make(night: str) -> None:
        run(code, NIGHT=night, CYBER_DOJO_STORER=storer.address, PYTHONPATH=str(TOP))

    return make


@pytest.fixture
def rehearsed(engine: Engine, namespace: Namespace) -> Iterator[Namespace]:
    """The namespace of a rehearsal. Only if the page leaves something in it, this removes that."""
    found = Namespace(f"{namespace.name}-{secrets.token_hex(3)}")
    filters = {"label": f"{LABEL}={found.name}"}
    project = {"label": f"com.docker.compose.project={found.name}"}
    folders = [Path(f"/var/{kind}/{found.name}") for kind in ("lib", "log")]
    yield found
    left: list[str] = []
    api = engine.api
    for container in [
        *api.containers(all=True, filters=project),
        *api.containers(all=True, filters=filters),
    ]:
        left.append(container["Names"][0])
        with contextlib.suppress(docker.errors.NotFound):
            api.remove_container(container["Id"], force=True, v=True)
    for volume in api.volumes(filters=filters)["Volumes"] or []:
        left.append(volume["Name"])
        api.remove_volume(volume["Name"])
    for image in api.images():
        for tag in image["RepoTags"] or []:
            if found.name in tag:
                left.append(tag)
                api.remove_image(tag, force=True)
    for folder in folders:
        if folder.exists():
            left.append(str(folder))
            shutil.rmtree(folder)
    assert not left, "the rehearsal leaves behind: " + ", ".join(left)


@pytest.fixture
def rehearse(
    storer: Service, engine: Engine, rehearsed: Namespace, tmp_path: Path
) -> Callable[[], str]:
    """Carries out the page's rehearsal beside the storer; returns the output."""
    storer_port, runner_port = free_ports(2)
    code = replaced(
        "\n".join(code_in("operations.md", "A rehearsal")),
        {
            "make up": "scripts/up.sh",
            "/var/backups/cyber-dojo": str(tmp_path / "backups"),
            LIVE: f"{LIVE} CYBER_DOJO_STORER={storer.address}",
            "rehearsal": rehearsed.name,
            "5577": storer_port,
            "5597": runner_port,
        },
    )
    return lambda: run(code, CYBER_DOJO_TAG="latest", DOCKER_HOST=engine.url)


def test_the_backups_of_nights_are_restored_by_the_commands_of_a_rehearsal(
    katas: Katas,
    elsewhere: DataContainers,
    nightly: Callable[[str], object],
    rehearse: Callable[[], str],
    tmp_path: Path,
) -> None:
    kept, archived, deleted = (katas.started("whale", "wolf") for _ in range(3))
    for kata_id in (kept, archived, deleted):
        katas.record(kata_id, "whale", {**FILES, "hiker.c": b"int answer;\n"})
    katas.stub.ArchiveKata(storer_pb2.ArchiveKataRequest(kata_id=archived))
    nightly(SUNDAY)
    katas.delete(deleted)
    katas.record(kept, "wolf")
    added = katas.started("bat")
    nightly(MONDAY)
    assert sorted(each.name for each in (tmp_path / "backups").iterdir()) == [
        *(f"{night}.tar.zst" for night in (SUNDAY, MONDAY)),
        "token",
    ]
    said = rehearse()
    assert f"{kept}  replaced" in said
    assert f"{deleted}  deleted" in said
    assert f"{added}  restored" in said
    assert "3 katas, 5 avatars, " in said
    assert ": all as it should be\n" in said
    assert "the same\n" in said
    assert set(elsewhere.kata_ids()) == {kept, added}  # the storer beside it is as it was
