"""Services of the fuzzers' own, in a namespace of their own."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import docker.errors
import pytest

from dojo.engine.client import Engine
from dojo.engine.data_containers import DataContainers
from dojo.errors import EngineUnavailable
from dojo.naming import LABEL, Namespace
from dojo.service.settings import CommonSettings, load
from support import test_run
from support.fuzz import profiles  # noqa: F401 - pytest looks for a profile before it collects
from support.fuzz.watched import World, watched
from support.paths import TOP
from support.services import Service
from support.storer.fixtures import delete_all


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """The docker engine. Without one the run ends with a message."""
    try:
        engine = Engine(load(CommonSettings, os.environ).engine)
    except EngineUnavailable as error:
        pytest.exit(f"the fuzzers need a docker engine (make engine starts one): {error}", 1)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def data_containers(engine: Engine) -> Iterator[DataContainers]:
    """The data-containers of the fuzzers' namespace, of which nothing may remain in the end."""
    # No prefix of the other tests' namespaces, each of which is checked to be empty in the end.
    namespace = Namespace(test_run.namespace_name().replace("test-", "test-fuzz-"))
    root = load(CommonSettings, os.environ).volume_root or engine.volume_root()
    found = DataContainers(engine, namespace, root)
    yield found
    delete_all(found)
    with contextlib.suppress(docker.errors.ImageNotFound):
        engine.api.remove_image(namespace.kata_image)
    labelled = {"label": f"{LABEL}={namespace.name}"}
    left = engine.api.containers(all=True, filters=labelled)
    assert not left, f"the fuzzers left containers: {left}"
    assert not engine.api.volumes(filters=labelled)["Volumes"]


@pytest.fixture(scope="session")
def world(
    engine: Engine, data_containers: DataContainers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """A storer with an archive and start points, and a runner that knows it."""
    environ = {
        "CYBER_DOJO_NAMESPACE": data_containers.namespace.name,
        "DOCKER_HOST": engine.url,
    }
    storer = Service(
        "storer",
        {
            **environ,
            "CYBER_DOJO_ARCHIVE": str(tmp_path_factory.mktemp("archive")),
            "CYBER_DOJO_ARCHIVE_COPY_SECONDS": "1",
            "CYBER_DOJO_START_POINTS": str(_start_points(tmp_path_factory.mktemp("start_points"))),
        },
    )
    runner = Service("runner", {**environ, "CYBER_DOJO_STORER": storer.address})
    with watched(storer) as watched_storer, watched(runner) as watched_runner:
        yield World(watched_storer, watched_runner, data_containers.folder)
    runner.stop()
    storer.stop()


@pytest.fixture(autouse=True)
def _at_rest(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test whose calls leave work, descriptors or threads behind."""
    yield
    if "world" in request.fixturenames:
        world: World = request.getfixturevalue("world")
        delete_all(request.getfixturevalue("data_containers"))
        for each in (world.storer, world.runner):
            each.check()
            each.check_at_rest()


def _start_points(folder: Path) -> Path:
    kinds = [folder / kind for kind in ("languages", "exercises", "custom")]
    for kind in kinds:
        shutil.copytree(TOP / "start_points" / kind.name, kind)
    command = [sys.executable, "-m", "storer.start_points.index", *map(str, kinds)]
    subprocess.run(command, check=True, capture_output=True)
    return folder
