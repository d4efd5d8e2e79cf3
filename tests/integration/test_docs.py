"""What the documentation says is so."""

import doctest
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from cyberdojo.runner.v1 import runner_pb2
from cyberdojo.startpoints.v1 import startpoints_pb2
from cyberdojo.storer.v1 import storer_pb2
from runner.settings import RunnerSettings
from storer.settings import StorerSettings
from support.paths import TOP
from support.services import Service

PAGES = sorted([*TOP.glob("*.md"), *(TOP / "docs").rglob("*.md")])


def test_the_examples_for_callers_run_as_they_stand(
    storer_service: Service, runner_service: Service
) -> None:
    text = (TOP / "docs/calling.md").read_text()
    text = text.replace("127.0.0.1:4577", storer_service.address)
    text = text.replace("127.0.0.1:4597", runner_service.address).replace("```\n", "\n")
    example = doctest.DocTestParser().get_doctest(text, {}, "calling.md", None, 0)
    said: list[str] = []
    done = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=said.append)
    assert done.attempted > 50
    assert done.failed == 0, "".join(said)


def test_the_examples_for_operators_run_as_they_stand(
    storer_service: Service, tmp_path: Path
) -> None:
    program = tmp_path / "bin" / "cyber-dojo"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cli "$@"\n')
    program.chmod(0o755)
    environ = {
        **os.environ,
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{TOP}:{os.environ.get('PYTHONPATH', '')}",
        "CYBER_DOJO_STORER": storer_service.address,
    }
    text = (TOP / "docs/command-line.md").read_text()
    examples = re.findall(r"(?m)^\$ (.+)\n((?:(?!\$ |```).*\n)*)", text)
    assert len(examples) > 10
    wrong = []
    for command, expected in examples:
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=environ, capture_output=True, check=False
        )
        said = done.stdout.decode() + done.stderr.decode()
        if not doctest.OutputChecker().check_output(expected, said, doctest.ELLIPSIS):
            wrong.append(f"$ {command}\n{said}")
    assert not wrong, "\n".join(wrong)


def test_every_rpc_is_explained_to_callers() -> None:
    text = (TOP / "docs/calling.md").read_text()
    for file in (storer_pb2.DESCRIPTOR, startpoints_pb2.DESCRIPTOR, runner_pb2.DESCRIPTOR):
        for service in file.services_by_name.values():
            for method in service.methods:
                assert f"**{method.name}**" in text, method.full_name


@pytest.mark.parametrize("settings", [StorerSettings, RunnerSettings])
def test_every_setting_is_explained_to_operators(
    settings: type[StorerSettings] | type[RunnerSettings],
) -> None:
    text = (TOP / "docs/running.md").read_text()
    for field in fields(settings):
        name, meaning = field.metadata["name"], field.metadata["meaning"]
        row = rf"(?m)^\| `{name}` \| {re.escape(meaning)} \| .+ \|$"
        assert re.search(row, text), f"no row: | `{name}` | {meaning} | ... |"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        if anchor:
            titles = re.findall(r"(?m)^#+ (.*)$", found.read_text())
            anchors = [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles]
            assert anchor in anchors, target
