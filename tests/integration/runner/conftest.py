"""Fixtures of the runner's tests."""

from collections.abc import Callable, Iterator

import grpc
import pytest

from cyberdojo.runner.v1 import runner_pb2
from cyberdojo.storer.v1 import storer_pb2_grpc
from dojo.engine.client import Engine
from dojo.naming import Namespace
from support.kata_folders import Kata
from support.runner.hostility import (
    NEIGHBOUR,
    OWN,
    SECOND,
    SECRET,
    TENTH,
    keep_secret,
    strays,
)
from support.runner.submissions import (
    AVATAR,
    Run,
    Stub,
    assert_serves,
    beside,
    containers,
    prepare,
    runs_in,
    waiting_containers,
)
from support.services import Service, wait_until


@pytest.fixture(autouse=True)
def _no_troubles(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test during which the shared runner logged a warning, an error or a defect."""
    wanted = "runner" in request.fixturenames
    service: Service | None = request.getfixturevalue("runner_service") if wanted else None
    before = len(service.troubles()) if service else 0
    yield
    assert service is None or not "\n".join(service.troubles()[before:])


@pytest.fixture
def start_runner(start_service: Callable[..., Service]) -> Iterator[Callable[..., Service]]:
    """Starts runners of a test's own, and stops those that still run at its end."""
    started: list[Service] = []

    def start(**environ: str) -> Service:
        started.append(start_service("runner", **environ))
        return started[-1]

    yield start
    for service in started:
        if service.is_running:
            service.stop()
    assert not "\n".join(found for service in started for found in service.troubles())


@pytest.fixture(scope="module")
def plain_storer(
    start_service: Callable[..., Service], connect: Callable[[str], grpc.Channel]
) -> Iterator[storer_pb2_grpc.StorerServiceStub]:
    """A storer without an archive, shared by the tests of a module."""
    service = start_service("storer")
    yield storer_pb2_grpc.StorerServiceStub(connect(service.address))
    service.stop()
    assert not "\n".join(service.troubles())


@pytest.fixture
def client(connect: Callable[[str], grpc.Channel]) -> Callable[[Service], Stub]:
    """Makes clients of runners."""
    return lambda service: Stub(connect(service.address))


@pytest.fixture
def started_kata(kata: Kata) -> Kata:
    """A kata with a whale."""
    kata.start_avatar(AVATAR)
    return kata


@pytest.fixture
def run(runner: Stub, started_kata: Kata) -> Run:
    """Runs a script, with files, in the whale's sandbox: `run("make", {...})`."""
    return runs_in(runner, started_kata)


@pytest.fixture
def attacked_kata(started_kata: Kata) -> Kata:
    """A kata with a whale, and a zebra that has a secret."""
    started_kata.start_avatar(NEIGHBOUR)
    keep_secret(started_kata)
    return started_kata


@pytest.fixture(scope="session")
def single_runner(
    start_service: Callable[..., Service], connect: Callable[[str], grpc.Channel]
) -> Iterator[Stub]:
    """A client of a runner in which each run has a container of its own."""
    service = start_service("runner", CYBER_DOJO_RUNNER_MAX_RUNS_OF_CONTAINER="1")
    yield Stub(connect(service.address))
    service.stop()
    assert not "\n".join(service.troubles())


@pytest.fixture(params=[SECOND, TENTH, OWN])
def attack(request: pytest.FixtureRequest, attacked_kata: Kata, engine: Engine) -> Iterator[Run]:
    """Runs hostile programs as the whale, in warm containers, during a run of the zebra's.

    Good runs have been in the container before, but for a container of the attack's own. At the end
    the zebra's light has to be right, the zebra's secret has to be untouched, and the whale's next
    submission has to be green.
    """
    name = "single_runner" if request.param == OWN else "runner"
    runner: Stub = request.getfixturevalue(name)
    run = runs_in(runner, attacked_kata)
    assert_serves(runner, attacked_kata)
    if request.param == TENTH:
        assert prepare(runner, attacked_kata)
        before = waiting_containers(engine, attacked_kata)
        for _ in range(8):
            assert_serves(runner, attacked_kata)
        assert prepare(runner, attacked_kata)
        assert waiting_containers(engine, attacked_kata) == before

    def prepared(*arguments: object, **fields: object) -> runner_pb2.RunResponse:
        assert prepare(runner, attacked_kata)
        return run(*arguments, **fields)

    with beside(runner, attacked_kata, NEIGHBOUR):
        yield prepared
    sandbox = attacked_kata.sandbox(NEIGHBOUR)
    assert {path.name for path in sandbox.iterdir()} == {"cyber-dojo.sh", "secret.txt"}
    assert (sandbox / "secret.txt").read_bytes() == SECRET
    assert_serves(runner, attacked_kata)
    wait_until(lambda: not containers(engine, attacked_kata))


@pytest.fixture(scope="module")
def nothing_stays(engine: Engine, namespace: Namespace) -> Iterator[None]:
    """Fail if a container, mount or process of a module's runs is left."""
    before = strays(engine, namespace)
    yield
    wait_until(lambda: strays(engine, namespace) <= before)
