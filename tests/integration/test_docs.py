"""The examples in the documentation work."""

import doctest
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dojo.engine.data_containers import DataContainers
from support.paths import TOP
from support.services import Service
from support.storer.fixtures import delete_all


@pytest.fixture(autouse=True)
def _tidy(data_containers: DataContainers) -> Iterator[None]:
    """Deletes the katas of the examples, and lets deleted ones be imported again."""
    yield
    delete_all(data_containers)


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
    storer_service: Service, runner_service: Service, tmp_path: Path
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
        "CYBER_DOJO_RUNNER": runner_service.address,
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
