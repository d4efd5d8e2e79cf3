"""What the fuzzers found stays found: each file of `cases`, and the one that `--case` names."""

from pathlib import Path

import pytest

from support.fuzz import cases, strengths
from support.fuzz.targets import try_
from support.fuzz.watched import World


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Take the files of the folder, or the one of the command line instead."""
    named = metafunc.config.getoption("--case")
    kept = sorted(cases.FOLDER.glob("*.json"))
    harmless = [path for path in kept if path.stem not in strengths.HARMFUL_CASES]
    paths = [Path(named)] if named else harmless
    metafunc.parametrize("path", paths, ids=lambda path: path.stem)


def test_a_case_does_no_harm(world: World, path: Path) -> None:
    try_(world, *cases.read(path))
