"""The hosted CI runs only make targets, which anybody can run too."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.paths import TOP

WORKFLOWS = sorted((TOP / ".github/workflows").iterdir())
TARGETS = set(re.findall(r"(?m)^([a-z-]+):", (TOP / "Makefile").read_text()))
AS_ROOT = re.compile(r'sudo make (?P<target>\S+) PYTHON="\$\(command -v python3\.11\)"')
AS_ANYBODY = re.compile(r"make (?P<target>\S+)")


def steps(workflow: Path) -> Iterator[dict[str, Any]]:
    for job in yaml.safe_load(workflow.read_text())["jobs"].values():
        yield from job["steps"]


def test_one_workflow_runs_on_each_change_and_one_each_week() -> None:
    # YAML 1.1 reads the key `on` as true.
    when = [set(yaml.safe_load(each.read_text())[True]) for each in WORKFLOWS]
    assert {"push", "pull_request"} in when
    assert {"schedule", "workflow_dispatch"} in when


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda each: each.name)
def test_each_command_is_a_make_target(workflow: Path) -> None:
    commands = [step["run"] for step in steps(workflow) if "run" in step]
    assert commands
    for command in commands:
        matched = AS_ROOT.fullmatch(command) or AS_ANYBODY.fullmatch(command)
        assert matched, command
        assert matched["target"] in TARGETS, command


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda each: each.name)
def test_each_action_has_a_full_version_and_there_are_no_secrets(workflow: Path) -> None:
    actions = [step["uses"] for step in steps(workflow) if "uses" in step]
    assert actions
    for action in actions:
        assert re.fullmatch(r"actions/[a-z-]+@v\d+\.\d+\.\d+", action), action
    text = workflow.read_text()
    assert "secrets" not in text
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
