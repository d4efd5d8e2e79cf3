"""Fixtures for the web tier: a real process on a real pair, and a real browser."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from cyberdojo.startpoints.v1 import startpoints_pb2, startpoints_pb2_grpc
from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from support.services import Service
from support.web.browser import PATIENCE_MILLISECONDS, Complaints, chromium
from support.web.practised import Practised

KEY = b"a key for tests, which everybody knows"


@pytest.fixture(scope="session")
def web_key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file with the key of all web tiers here."""
    path = tmp_path_factory.mktemp("web") / "key"
    path.write_bytes(KEY)
    path.chmod(0o600)
    return path


@pytest.fixture(scope="session")
def start_web(start_service: Callable[..., Service], web_key_file: Path) -> Callable[..., Service]:
    """Starts a web tier on services: `start_web(storer.address, runner.address)`."""

    def start(storer: str, runner: str, **environ: str) -> Service:
        own = {
            "CYBER_DOJO_STORER": storer,
            "CYBER_DOJO_RUNNER": runner,
            "CYBER_DOJO_WEB_KEY_FILE": str(web_key_file),
            "CYBER_DOJO_WEB_MAX_KATAS_PER_HOUR": "100000",
        }
        return start_service("web", **{**own, **environ})

    return start


@pytest.fixture(scope="session")
def web_service(
    start_web: Callable[..., Service], storer_service: Service, runner_service: Service
) -> Iterator[Service]:
    """The web tier that most tests share, on the pair that they share."""
    service = start_web(storer_service.address, runner_service.address)
    yield service
    service.stop()


@pytest.fixture(scope="session")
def web(web_service: Service) -> str:
    """The address of the shared web tier: `http://127.0.0.1:PORT`."""
    return f"http://{web_service.address}"


@pytest.fixture
def http(web: str) -> Iterator[httpx.Client]:
    """A client of the shared web tier that is no browser."""
    with httpx.Client(base_url=web, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser, one for the tests of a module.

    While there is one, nothing else in this thread can have an event loop.
    """
    expect.set_options(timeout=PATIENCE_MILLISECONDS)
    with chromium() as browser:
        yield browser


@pytest.fixture
def new_person(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens browsers of persons, each with cookies of its own: `new_person().goto(url)`.

    Afterwards none may have complained, of a script or of the content security policy. A test that
    takes the network or a service away calls it with `network_fails=True`.
    """
    with ExitStack() as stack:
        complaints: list[tuple[Complaints, bool]] = []

        def new(*, network_fails: bool = False, **options: object) -> Page:
            context: BrowserContext = browser.new_context(**options)  # type: ignore[arg-type]
            stack.callback(context.close)
            context.set_default_timeout(PATIENCE_MILLISECONDS)
            page = context.new_page()
            complaints.append((Complaints(page), network_fails))
            return page

        yield new
        for each, network_fails in complaints:
            assert (each.without_network() if network_fails else each.lines) == []


@pytest.fixture
def person(new_person: Callable[..., Page]) -> Page:
    """A person's browser."""
    return new_person()


@pytest.fixture
def new_web_kata(
    storer: storer_pb2_grpc.StorerServiceStub,
    storer_service: Service,
    connect: Callable[[str], grpc.Channel],
) -> Iterator[Callable[..., str]]:
    """Makes katas of the start points by their names, and deletes them when the test ends."""
    made: list[str] = []
    start_points = startpoints_pb2_grpc.StartPointsServiceStub(connect(storer_service.address))

    def new(language: str = "Bash, shunit2", exercise: str = "Fizz Buzz") -> str:
        asked = startpoints_pb2.GetStartPointRequest(language=language, exercise=exercise)
        manifest = start_points.GetStartPoint(asked).manifest
        created = storer.CreateKata(storer_pb2.CreateKataRequest(manifest=manifest))
        made.append(created.kata_id)
        return created.kata_id

    yield new
    for kata_id in made:
        storer.DeleteKata(storer_pb2.DeleteKataRequest(kata_id=kata_id))


@pytest.fixture
def web_kata(new_web_kata: Callable[..., str]) -> str:
    """The id of a kata whose runs take little time."""
    return new_web_kata()


@pytest.fixture
def new_practised(storer: storer_pb2_grpc.StorerServiceStub) -> Iterator[Callable[..., Practised]]:
    """Makes katas in which people practise without runs, and deletes them when the test ends."""
    made: list[Practised] = []

    def new(**manifest: Any) -> Practised:
        made.append(Practised(storer, **manifest))
        return made[-1]

    yield new
    for practised in made:
        practised.delete()
