"""Fixtures for tests that need an engine: a namespace of their own, and real services in it."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import docker.errors
import grpc
import pytest

from cyberdojo.runner.v1 import runner_pb2_grpc
from cyberdojo.storer.v1 import storer_pb2_grpc
from dojo import locks
from dojo.engine.client import Engine
from dojo.engine.data_containers import DataContainers
from dojo.errors import EngineUnavailable
from dojo.naming import LABEL, Namespace
from dojo.service.settings import CommonSettings, load
from support import test_run
from support.bystanders import bystanders
from support.kata_folders import Kata, make_kata
from support.machines.etcd import Etcd
from support.machines.fleet import Fleet
from support.paths import TOP
from support.services import Service
from support.storer import katas_directories

MAX_MESSAGE_BYTES = 64 * 1024 * 1024


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """The docker engine. Without one the run ends with a message."""
    settings = load(CommonSettings, os.environ)
    try:
        engine = Engine(settings.engine)
    except EngineUnavailable as error:
        pytest.exit(f"the tests need a docker engine (make engine starts one): {error}", 1)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def namespace(engine: Engine) -> Iterator[Namespace]:
    """A namespace for this session alone. The session fails if anything is left in it."""
    namespace = Namespace(test_run.namespace_name())
    yield namespace
    with contextlib.suppress(docker.errors.ImageNotFound):  # no kata was made
        engine.api.remove_image(namespace.kata_image)
    for volume in (
        namespace.backups,
        namespace.deleted,
        namespace.damaged,
        namespace.old_ids,
    ):
        with contextlib.suppress(docker.errors.NotFound):  # no backup was made, nothing deleted
            engine.api.remove_volume(volume)
    for lock in engine.volume_root().glob(f"{namespace.name}-runner-*.lock"):
        lock.unlink()  # of a runner that a test killed
    left = list(_left_behind(engine, namespace))
    assert not left, "the tests left behind: " + ", ".join(left)


@pytest.fixture(scope="session", autouse=True)
def _bystanders(engine: Engine, namespace: Namespace) -> Iterator[None]:
    """Things of another user in the engine, which the tests must leave alone."""
    with bystanders(engine, f"{namespace.name}-somebody"):
        yield


@pytest.fixture(scope="session")
def data_containers(engine: Engine, namespace: Namespace) -> DataContainers:
    """The namespace's data-containers."""
    settings = load(CommonSettings, os.environ)
    return DataContainers(engine, namespace, settings.volume_root or engine.volume_root())


@pytest.fixture
def new_kata(data_containers: DataContainers) -> Iterator[Callable[[], Kata]]:
    """Makes katas without a storer, and deletes them when the test ends."""
    made: list[Kata] = []

    def new() -> Kata:
        made.append(make_kata(data_containers))
        return made[-1]

    yield new
    for kata in made:
        with contextlib.suppress(FileNotFoundError), locks.locked(kata.folder):
            data_containers.delete(kata.id)


@pytest.fixture
def kata(new_kata: Callable[[], Kata]) -> Kata:
    """A kata without avatars."""
    return new_kata()


@pytest.fixture(scope="session")
def start_service(engine: Engine, namespace: Namespace) -> Callable[..., Service]:
    """Starts a service in the tests' namespace: `start_service("runner", DOCKER_HOST=...)`."""

    def start(module: str, *options: str, until: str = "serving", **environ: str) -> Service:
        own = {"CYBER_DOJO_NAMESPACE": namespace.name, "DOCKER_HOST": engine.url}
        return Service(module, {**own, **environ}, *options, until=until)

    return start


@pytest.fixture(scope="session")
def runner_service(start_service: Callable[..., Service]) -> Iterator[Service]:
    """The runner that most tests share."""
    service = start_service("runner")
    yield service
    service.stop()


@pytest.fixture(scope="session")
def katas_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A katas directory with legacy katas of every kind. Tests must not write to it."""
    directory = tmp_path_factory.mktemp("katas")
    katas_directories.write_all(directory)
    return directory


@pytest.fixture(scope="session")
def start_points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's start points, with their index."""
    folder = tmp_path_factory.mktemp("start_points")
    kinds = [folder / kind for kind in ("languages", "exercises", "custom")]
    for kind in kinds:
        shutil.copytree(TOP / "start_points" / kind.name, kind)
    command = [sys.executable, "-m", "storer.start_points.index", *map(str, kinds)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def saver_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saver's directory, which is empty before each test and after it."""
    directory = tmp_path_factory.mktemp("saver")
    for name in ("groups", "katas"):
        (directory / name).mkdir()
    return directory


@pytest.fixture(scope="session")
def storer_service(
    start_service: Callable[..., Service],
    katas_directory: Path,
    saver_directory: Path,
    start_points: Path,
) -> Iterator[Service]:
    """The storer that most tests share; it can import legacy katas, and those of a saver."""
    service = start_service(
        "storer",
        CYBER_DOJO_KATAS_DIRECTORY=str(katas_directory),
        CYBER_DOJO_SAVER_DIRECTORY=str(saver_directory),
        CYBER_DOJO_START_POINTS=str(start_points),
    )
    yield service
    service.stop()


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    """The etcd that tests share. They must not stop it, and use keys of their own."""
    etcd = Etcd(tmp_path_factory.mktemp("etcd"))
    etcd.start()
    yield etcd
    etcd.remove()


@pytest.fixture
def own_etcd(tmp_path: Path) -> Iterator[Etcd]:
    """An etcd of the test's own, which it may kill or freeze."""
    etcd = Etcd(tmp_path / "etcd")
    etcd.start()
    yield etcd
    etcd.remove()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A network without hosts, for the tests of a module. What is started on it ends with it."""
    with Fleet(tmp_path_factory.mktemp("fleet")) as fleet:
        yield fleet


@pytest.fixture
def is_long(pytestconfig: pytest.Config) -> bool:
    """Whether what happens to machines lasts for long, as `make test-machines` has it."""
    return bool(pytestconfig.getoption("machine_faults") > 1)


@pytest.fixture(scope="session")
def connect() -> Iterator[Callable[[str], grpc.Channel]]:
    """Opens channels to services, and closes them when the session ends."""
    channels: list[grpc.Channel] = []

    def open_channel(address: str) -> grpc.Channel:
        options = [
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", -1),
            ("grpc.enable_http_proxy", 0),
        ]
        channels.append(grpc.insecure_channel(address, options=options))
        return channels[-1]

    yield open_channel
    for channel in channels:
        channel.close()


@pytest.fixture(scope="session")
def runner(
    runner_service: Service, connect: Callable[[str], grpc.Channel]
) -> runner_pb2_grpc.RunnerServiceStub:
    """A client of the shared runner."""
    return runner_pb2_grpc.RunnerServiceStub(connect(runner_service.address))


@pytest.fixture(scope="session")
def storer(
    storer_service: Service, connect: Callable[[str], grpc.Channel]
) -> storer_pb2_grpc.StorerServiceStub:
    """A client of the shared storer."""
    return storer_pb2_grpc.StorerServiceStub(connect(storer_service.address))


def _left_behind(engine: Engine, namespace: Namespace) -> Iterator[str]:
    """Yield everything that still carries the namespace."""
    labelled = {"label": f"{LABEL}={namespace.name}"}
    for container in engine.api.containers(all=True, filters=labelled):
        yield f"container {container['Names'][0]}"
    for volume in engine.api.volumes(filters=labelled)["Volumes"] or []:
        yield f"volume {volume['Name']}"
    for image in engine.api.images():
        for tag in image["RepoTags"] or []:
            if tag.startswith(f"{namespace.name}-"):
                yield f"image {tag}"
    wanted = f"CYBER_DOJO_NAMESPACE={namespace.name}".encode()
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            found = wanted in environ.read_bytes().split(b"\0")
        except OSError:
            continue  # the process has just ended
        if found:
            yield f"process {environ.parent.name}"
