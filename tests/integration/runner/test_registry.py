"""Images from the registry of an installation of several machines: a run gets a missing one."""

import contextlib
import secrets
from collections.abc import Callable, Iterator

import docker.errors
import grpc
import pytest

from cyberdojo.runner.v1 import runner_pb2, runner_pb2_grpc
from dojo.engine.client import Engine
from dojo.naming import Namespace
from support.kata_folders import Kata
from support.runner.registry import Registry, shell_image
from support.runner.submissions import AVATAR, GREEN, PYTHON, Stub, refused, request
from support.services import Service


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        yield registry


@pytest.fixture
def missing(engine: Engine, registry: Registry, namespace: Namespace) -> Iterator[str]:
    """The name of an image that only the registry has."""
    name = f"{namespace.name}-{secrets.token_hex(4)}"
    with shell_image(engine, name):
        registry.add(engine, name, name)
    yield name
    for left in (name, f"{registry.address}/{name}"):
        with contextlib.suppress(docker.errors.ImageNotFound):
            engine.api.remove_image(left, force=True)


@pytest.fixture
def own(
    start_runner: Callable[..., Service],
    connect: Callable[[str], grpc.Channel],
    registry: Registry,
) -> Stub:
    """A runner that knows where the registry is."""
    service = start_runner(CYBER_DOJO_REGISTRY=registry.address)
    return runner_pb2_grpc.RunnerServiceStub(connect(service.address))


def test_a_run_has_its_image_pulled_and_the_image_has_its_own_name(
    own: Stub, engine: Engine, registry: Registry, missing: str, started_kata: Kata
) -> None:
    assert own.Run(request(started_kata, image_name=missing), timeout=60).colour == GREEN
    assert engine.has_image(missing)
    assert not engine.has_image(f"{registry.address}/{missing}")


def test_a_container_that_is_prepared_has_its_image_pulled(
    own: Stub, engine: Engine, missing: str, started_kata: Kata
) -> None:
    asked = runner_pb2.PrepareRequest(kata_id=started_kata.id, avatar=AVATAR, image_name=missing)
    assert own.Prepare(asked, timeout=60).waiting
    assert engine.has_image(missing)


def test_what_the_registry_lacks_is_missing_and_its_answer_is_told(
    own: Stub, registry: Registry, missing: str, started_kata: Kata
) -> None:
    registry.answer = 503, b""
    asked = request(started_kata, image_name=missing)
    found = refused(lambda: own.Run(asked, timeout=60), grpc.StatusCode.FAILED_PRECONDITION)
    assert f"image {missing} is not on this host" in found.details()
    assert "503" in found.details()
    registry.answer = None
    assert own.Run(asked, timeout=60).colour == GREEN


def test_the_newest_image_of_a_name_is_pulled_when_it_is_asked_for(
    own: Stub, engine: Engine, registry: Registry, missing: str
) -> None:
    def pull(*, newest: bool) -> str | None:
        asked = runner_pb2.PullImageRequest(image_name=missing, newest=newest)
        assert list(own.PullImage(asked, timeout=60))[-1].done
        return engine.image_id(missing)

    first = pull(newest=False)
    registry.add(engine, PYTHON, missing)
    assert pull(newest=False) == first
    assert pull(newest=True) == engine.image_id(PYTHON)


def test_an_image_is_listed_with_what_tells_it_from_others_of_its_name(
    own: Stub, engine: Engine
) -> None:
    listed = own.ListImages(runner_pb2.ListImagesRequest(), timeout=30).images
    ids = {each.image_name: each.id for each in listed}
    assert ids[PYTHON] == engine.image_id(PYTHON)
