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
from support.storer.s3 import S3Server
from support.storer.several import Storers

__all__ = ["client", "elsewhere", "katas_elsewhere", "start_storer"]


@pytest.fixture
def make_storers(
    data_containers: DataContainers, start_service: Callable[..., Service], tmp_path: Path
) -> Iterator[Callable[..., Storers]]:
    """Makes an installation without storers, in an etcd; its storers end with the test.

    Its archive is a folder, or where it is told to be, with the environment that this takes.
    """
    made: list[Storers] = []

    def make(etcd: Etcd, archive: str = "", **environ: str) -> Storers:
        where = archive or str(tmp_path / "archive")
        made.append(Storers(etcd, where, data_containers, start_service, **environ))
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
def s3() -> Iterator[S3Server]:
    """An S3-compatible store with a bucket `katas`."""
    server = S3Server()
    server.make_bucket("katas")
    yield server
    server.stop()


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
