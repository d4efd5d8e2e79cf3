"""The documentation is complete. Tests of its examples need an engine."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from cyberdojo.runner.v1 import runner_pb2
from cyberdojo.startpoints.v1 import startpoints_pb2
from cyberdojo.storer.v1 import storer_pb2
from runner.settings import RunnerSettings
from storer.settings import StorerSettings
from support.paths import TOP

PAGES = sorted([*TOP.glob("*.md"), *(TOP / "docs").rglob("*.md")])


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
