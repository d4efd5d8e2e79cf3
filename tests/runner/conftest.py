"""What tests of the runner start from, besides what every test does."""

from collections.abc import Callable, Iterator

import grpc
import pytest
from kata_folders import Kata
from services import Service
from submissions import AVATAR, Run, Stub, runs_in


@pytest.fixture(autouse=True)
def _no_troubles(request: pytest.FixtureRequest) -> Iterator[None]:
    """No call in a test may have come upon a defect of the shared runner."""
    wanted = "runner" in request.fixturenames
    service: Service | None = request.getfixturevalue("runner_service") if wanted else None
    before = len(service.troubles()) if service else 0
    yield
    assert service is None or not "\n".join(service.troubles()[before:])


@pytest.fixture
def start_runner(start_service: Callable[..., Service]) -> Iterator[Callable[..., Service]]:
    """Starts runners of a test's own; those that it did not end are stopped."""
    started: list[Service] = []

    def start(**environ: str) -> Service:
        started.append(start_service("runner", **environ))
        return started[-1]

    yield start
    for service in started:
        if service.is_running:
            service.stop()
    assert not "\n".join(found for service in started for found in service.troubles())


@pytest.fixture
def client(connect: Callable[[str], grpc.Channel]) -> Callable[[Service], Stub]:
    """Gives a client of a runner."""
    return lambda service: Stub(connect(service.address))


@pytest.fixture
def started_kata(kata: Kata) -> Kata:
    """A kata in which the whale was started."""
    kata.start_avatar(AVATAR)
    return kata


@pytest.fixture
def run(runner: Stub, started_kata: Kata) -> Run:
    """Runs a script, and files beside it, in the whale's sandbox: `run("make", {...})`."""
    return runs_in(runner, started_kata)
