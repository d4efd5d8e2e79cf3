"""What tests of the runner that need no engine start from."""

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
    """The sandbox in it, whose user is whoever runs the tests."""
    with safe_fs.opened(folder.parent) as avatar, safe_fs.opened(folder) as inner:
        yield Sandbox(AvatarFolder(avatar, inner, os.getuid()))
