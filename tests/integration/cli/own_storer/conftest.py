"""Fixtures of commands that are tried on a storer of their own, so that they may count all."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dojo.engine.data_containers import DataContainers
from support.commands import CommandLine
from support.services import Service
from support.storer.storing import Katas


@pytest.fixture
def storer(
    elsewhere: DataContainers, start_storer: Callable[..., Service], tmp_path: Path
) -> Service:
    """A storer with an archive, which has nothing else."""
    return start_storer(
        CYBER_DOJO_NAMESPACE=elsewhere.namespace.name, CYBER_DOJO_ARCHIVE=str(tmp_path / "archive")
    )


@pytest.fixture
def line(storer: Service, tmp_path: Path) -> CommandLine:
    """A command line that calls it."""
    return CommandLine(storer.address, tmp_path)


@pytest.fixture
def katas(storer: Service, client: Callable[[Service], Katas]) -> Katas:
    """Its katas."""
    return client(storer)
