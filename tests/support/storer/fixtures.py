"""Fixtures of the storer's tests, besides those that every test on an engine has.

The conftest.py of each folder of such tests imports all of them.
"""

import contextlib
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import docker.errors
import grpc
import pytest

from dojo.engine.client import Engine
from dojo.engine.data_containers import DataContainers
from dojo.naming import LABEL, Namespace
from support.services import Service
from support.storer.storing import Katas, Stub


@pytest.fixture(autouse=True)
def _tidy(request: pytest.FixtureRequest, data_containers: DataContainers) -> Iterator[None]:
    """Deletes each test's katas in the end, and fails the test if a call of it logged a defect."""
    service = (
        request.getfixturevalue("storer_service") if "storer" in request.fixturenames else None
    )
    before = len(defects(service)) if service else 0
    yield
    delete_all(data_containers)
    if service:
        found = "".join(defects(service)[before:])
        assert not found, found


@pytest.fixture
def katas(storer: Stub) -> Katas:
    """The katas behind the shared storer."""
    return Katas(storer)


@pytest.fixture
def kata_id(katas: Katas) -> str:
    """A kata without avatars."""
    return katas.create()


@pytest.fixture
def start_storer(
    start_service: Callable[..., Service],
) -> Iterator[Callable[..., Service]]:
    """Starts storers for one test; those that the test did not stop are stopped in the end."""
    started: list[Service] = []

    def start(**environ: str) -> Service:
        started.append(start_service("storer", **environ))
        return started[-1]

    yield start
    for service in started:
        if service.is_running:
            service.stop()
    assert not "".join(found for service in started for found in defects(service))


@pytest.fixture
def client(connect: Callable[[str], grpc.Channel]) -> Callable[[Service], Katas]:
    """Returns the katas behind a storer."""
    return lambda service: Katas(Stub(connect(service.address)))


@pytest.fixture
def elsewhere(engine: Engine, data_containers: DataContainers) -> Iterator[DataContainers]:
    """The data-containers of another, empty namespace, of which nothing may remain in the end."""
    namespace = Namespace(f"{data_containers.namespace.name}-{secrets.token_hex(3)}")
    other = DataContainers(engine, namespace, data_containers.volume_root)
    yield other
    delete_all(other)
    with contextlib.suppress(docker.errors.ImageNotFound):
        engine.api.remove_image(namespace.kata_image)
    labelled = {"label": f"{LABEL}={namespace.name}"}
    assert not engine.api.containers(all=True, filters=labelled)
    assert not engine.api.volumes(filters=labelled)["Volumes"]


@pytest.fixture
def katas_elsewhere(
    elsewhere: DataContainers,
    start_storer: Callable[..., Service],
    client: Callable[[Service], Katas],
    start_points: Path,
) -> Katas:
    """The katas of another namespace, behind a storer of its own, without a katas directory."""
    return client(
        start_storer(
            CYBER_DOJO_NAMESPACE=elsewhere.namespace.name,
            CYBER_DOJO_START_POINTS=str(start_points),
        )
    )


@pytest.fixture
def folder(data_containers: DataContainers) -> Callable[[str], Path]:
    """Returns the folder of a kata's volume."""
    return data_containers.folder


def defects(service: Service) -> list[str]:
    """Return the traceback of every defect that a service logged."""
    return [event["exception"] for event in service.events() if event["event"] == "defect"]


def delete_all(data_containers: DataContainers) -> None:
    """Delete every kata of a namespace, unfinished ones too, and what the storer remembers."""
    for kata_id in list(data_containers.kata_ids()):
        data_containers.delete(kata_id)
    namespace = data_containers.namespace
    for volume in (
        namespace.backups,
        namespace.deleted,
        namespace.damaged,
        namespace.old_ids,
    ):
        with contextlib.suppress(docker.errors.NotFound):
            data_containers.engine.api.remove_volume(volume)


@pytest.fixture
def short_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder whose path is short enough for sockets; deleted in the end, as it can be large."""
    folder = tmp_path_factory.mktemp("short")
    yield folder
    shutil.rmtree(folder)
