"""Fixtures of tests with several storers."""

import contextlib
import http.client
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dojo.engine.data_containers import DataContainers
from support.machines.etcd import Etcd
from support.services import Service
from support.storer.fixtures import client, elsewhere, katas_elsewhere, start_storer
from support.storer.several import Storers

__all__ = ["client", "elsewhere", "katas_elsewhere", "start_storer"]


@pytest.fixture
def make_storers(
    data_containers: DataContainers, start_service: Callable[..., Service], tmp_path: Path
) -> Iterator[Callable[[Etcd], Storers]]:
    """Makes an installation without storers, in an etcd; its storers end with the test."""
    made: list[Storers] = []

    def make(etcd: Etcd) -> Storers:
        made.append(Storers(etcd, tmp_path / "archive", data_containers, start_service))
        return made[-1]

    yield make
    for storers in made:
        storers.close()


@pytest.fixture
def storers(make_storers: Callable[[Etcd], Storers], etcd: Etcd) -> Storers:
    """Three storers of one installation."""
    made = make_storers(etcd)
    for _ in range(3):
        made.add()
    return made


@pytest.fixture
def readiness() -> Callable[[str], tuple[int, str]]:
    """Returns what a storer answers a router that asks it at a port of this machine."""

    def readiness(port: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", "/")
            answer = connection.getresponse()
            return answer.status, answer.read().decode().strip()

    return readiness
