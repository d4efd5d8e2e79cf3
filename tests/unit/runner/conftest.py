"""Fixtures of the runner's tests that need no engine."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.sandbox import safe_fs
from runner.sandbox.sandbox import AvatarFolder, Sandbox


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a sandbox."""
    folder = tmp_path / "whale" / "sandbox"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def sandbox(folder: Path) -> Iterator[Sandbox]:
    """The sandbox in that folder. Its files belong to the user that runs the tests."""
    with safe_fs.opened(folder.parent) as avatar, safe_fs.opened(folder) as inner:
        yield Sandbox(AvatarFolder(avatar, inner, os.getuid()))
