"""ListImages and PullImage, with a registry on this host."""

import contextlib
import secrets
import socket
from collections.abc import Callable, Iterator

import docker.errors
import grpc
import pytest

from cyberdojo.runner.v1 import runner_pb2
from dojo import image_names, limits
from dojo.engine.client import Engine
from dojo.naming import Namespace
from support.kata_folders import Kata
from support.runner.registry import Registry, error, shell_image
from support.runner.submissions import GREEN, PYTHON, Stub, refused, request
from support.services import code_of, wait_until


@pytest.fixture
def name(namespace: Namespace) -> str:
    """A name that no other image has."""
    return f"{namespace.name}-{secrets.token_hex(4)}"


@pytest.fixture
def shell(engine: Engine, name: str) -> Iterator[str]:
    """An image on this host that has little more than a shell."""
    with shell_image(engine, name):
        yield name


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        yield registry


@pytest.fixture
def remote(engine: Engine, registry: Registry, name: str) -> Iterator[str]:
    """An image that only the registry has."""
    with shell_image(engine, name):
        registry.add(engine, name, name)
    yield f"{registry.address}/{name}"
    with contextlib.suppress(docker.errors.ImageNotFound):
        engine.api.remove_image(f"{registry.address}/{name}")


def pull(runner: Stub, image_name: str) -> list[runner_pb2.PullImageResponse]:
    asked = runner_pb2.PullImageRequest(image_name=image_name)
    return list(runner.PullImage(asked, timeout=60))


def pages(runner: Stub, page_size: int) -> Iterator[runner_pb2.ListImagesResponse]:
    page_token = ""
    while True:
        asked = runner_pb2.ListImagesRequest(page_size=page_size, page_token=page_token)
        page = runner.ListImages(asked, timeout=30)
        yield page
        if not (page_token := page.next_page_token):
            return


def test_language_images_are_listed_by_name(runner: Stub, engine: Engine, shell: str) -> None:
    (page,) = pages(runner, 0)
    names = [image.image_name for image in page.images]
    assert names == sorted(names)
    assert {PYTHON, shell} <= set(names)
    (listed,) = (image for image in page.images if image.image_name == shell)
    found = engine.api.inspect_image(shell)
    assert listed.size_bytes == found["Size"]
    assert listed.created.ToDatetime().isoformat()[:19] == found["Created"][:19]


def test_images_that_hold_no_language_are_not_listed(
    runner: Stub, engine: Engine, namespace: Namespace, new_kata: Callable[[], Kata]
) -> None:
    new_kata()
    assert engine.has_image(namespace.kata_image)
    (page,) = pages(runner, 0)
    assert namespace.kata_image not in [image.image_name for image in page.images]


def test_each_name_of_an_image_is_listed(runner: Stub, engine: Engine, shell: str) -> None:
    engine.api.tag(shell, shell, "v2")
    try:
        (page,) = pages(runner, 1000)
        names = [image.image_name for image in page.images]
        assert [name for name in names if name.startswith(shell)] == [shell, f"{shell}:v2"]
    finally:
        engine.api.remove_image(f"{shell}:v2")


def test_pages_together_hold_each_image_once(runner: Stub, engine: Engine, shell: str) -> None:
    for tag in ("a", "b", "c"):
        engine.api.tag(shell, shell, tag)
    try:
        found = list(pages(runner, 2))
        assert all(len(page.images) == 2 for page in found[:-1])
        names = [image.image_name for page in found for image in page.images]
        assert names == sorted(set(names))
        wanted = [shell, f"{shell}:a", f"{shell}:b", f"{shell}:c"]
        assert [name for name in names if name.startswith(shell)] == wanted
    finally:
        for tag in ("a", "b", "c"):
            engine.api.remove_image(f"{shell}:{tag}")


def test_an_image_removed_between_two_pages_hides_no_other(
    runner: Stub, engine: Engine, shell: str
) -> None:
    engine.api.tag(shell, shell, "a")
    found = pages(runner, 1)
    names = []
    for page in found:
        names += [image.image_name for image in page.images]
        if page.images and names[-1] == f"{shell}:a":
            engine.api.remove_image(f"{shell}:a")
    assert shell in names
    assert PYTHON in names


def test_an_image_needs_no_more_than_a_shell(runner: Stub, shell: str, started_kata: Kata) -> None:
    script = "read line < a.txt; echo $line > made; echo tests: passed"
    response = runner.Run(request(started_kata, script, {"a.txt": b"a\n"}, image_name=shell))
    assert response.colour == GREEN
    assert response.changed_files["made"] == b"a\n"


@pytest.mark.parametrize("suffix", ["", ":latest"])
def test_an_image_that_is_here_is_not_pulled(runner: Stub, shell: str, suffix: str) -> None:
    (only,) = pull(runner, shell + suffix)
    assert only.done
    assert only.layer == ""


def test_an_image_is_pulled_with_its_progress(
    runner: Stub, engine: Engine, registry: Registry, remote: str, started_kata: Kata
) -> None:
    asked = request(started_kata, image_name=remote)
    refused(lambda: runner.Run(asked), grpc.StatusCode.FAILED_PRECONDITION)
    registry.rest_may_go.clear()
    call = runner.PullImage(runner_pb2.PullImageRequest(image_name=remote), timeout=60)
    progress = next(each for each in call if each.current_bytes)
    assert progress.layer
    assert progress.status == "Downloading"
    assert 0 < progress.current_bytes < progress.total_bytes
    assert not engine.has_image(remote)
    registry.rest_may_go.set()
    *others, last = call
    assert [each.done for each in others] == [False] * len(others)
    assert last.done
    assert engine.has_image(remote)
    assert runner.Run(asked, timeout=30).colour == GREEN


def test_two_clients_can_pull_the_same_image_at_once(
    runner: Stub, registry: Registry, remote: str
) -> None:
    registry.rest_may_go.clear()
    asked = runner_pb2.PullImageRequest(image_name=remote)
    calls = [runner.PullImage(asked, timeout=60) for _ in range(2)]
    for call in calls:
        next(iter(call))
    registry.rest_may_go.set()
    assert [list(call)[-1].done for call in calls] == [True, True]


def test_many_callers_share_a_pull_and_keep_nobody_else_waiting(
    runner: Stub, engine: Engine, registry: Registry, remote: str, started_kata: Kata
) -> None:
    registry.rest_may_go.clear()
    asked = runner_pb2.PullImageRequest(image_name=remote)
    calls = [runner.PullImage(asked, timeout=120) for _ in range(80)]
    for call in calls:
        next(iter(call))
    assert runner.Run(request(started_kata), timeout=60).colour == GREEN
    runner.ListImages(runner_pb2.ListImagesRequest(), timeout=30)
    for call in calls[:40]:
        call.cancel()
    assert not registry.was_hung_up.is_set()
    registry.rest_may_go.set()
    assert all(list(call)[-1].done for call in calls[40:])
    assert engine.has_image(remote)


def test_no_more_images_than_the_limit_are_pulled_at_once(
    runner: Stub, engine: Engine, registry: Registry, name: str
) -> None:
    with shell_image(engine, name):
        for number in range(limits.MAX_PULLS + 1):
            registry.add(engine, name, f"{name}-{number}")
    registry.rest_may_go.clear()
    requests = [
        runner_pb2.PullImageRequest(image_name=f"{registry.address}/{name}-{number}")
        for number in range(limits.MAX_PULLS + 1)
    ]
    calls = [runner.PullImage(each, timeout=120) for each in requests[:-1]]
    for call in calls:
        next(iter(call))
    one_more = runner.PullImage(requests[-1], timeout=60)
    refused(lambda: next(iter(one_more)), grpc.StatusCode.RESOURCE_EXHAUSTED)
    for call in calls:
        call.cancel()
    assert registry.was_hung_up.wait(60)

    def is_free() -> bool:
        call = runner.PullImage(requests[-1], timeout=60)
        code = code_of(lambda: next(iter(call)))
        call.cancel()
        assert code in {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
        return code is grpc.StatusCode.OK

    wait_until(is_free)
    registry.rest_may_go.set()


def test_a_client_that_goes_away_stops_the_pull(
    runner: Stub, engine: Engine, registry: Registry, remote: str
) -> None:
    registry.rest_may_go.clear()
    call = runner.PullImage(runner_pb2.PullImageRequest(image_name=remote), timeout=60)
    next(each for each in call if each.current_bytes)
    call.cancel()
    assert registry.was_hung_up.wait(60)
    assert not engine.has_image(remote)
    registry.rest_may_go.set()
    assert pull(runner, remote)[-1].done


def test_an_image_that_no_registry_has_is_not_found(
    runner: Stub, registry: Registry, name: str
) -> None:
    unknown = f"{registry.address}/{name}"
    found = refused(lambda: pull(runner, unknown), grpc.StatusCode.NOT_FOUND)
    assert unknown in found.details()


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((401, error("UNAUTHORIZED", "authentication required")), grpc.StatusCode.NOT_FOUND),
        ((403, error("DENIED", "access denied")), grpc.StatusCode.NOT_FOUND),
        ((404, error("NAME_UNKNOWN", "repository name not known")), grpc.StatusCode.NOT_FOUND),
        ((404, b"<html>nothing here</html>"), grpc.StatusCode.NOT_FOUND),
        ((429, error("TOOMANYREQUESTS", "pull rate limit")), grpc.StatusCode.UNAVAILABLE),
        ((500, error("UNKNOWN", "unknown error")), grpc.StatusCode.UNAVAILABLE),
        ((503, b""), grpc.StatusCode.UNAVAILABLE),
        ((200, b"{}"), grpc.StatusCode.UNAVAILABLE),
    ],
)
def test_a_refusal_of_a_registry_is_not_found_and_a_failure_is_unavailable(
    runner: Stub, registry: Registry, name: str, answer: tuple[int, bytes], code: grpc.StatusCode
) -> None:
    registry.answer = answer
    found = refused(lambda: pull(runner, f"{registry.address}/{name}"), code)
    assert name in found.details()


def test_a_registry_that_is_not_there_is_unavailable(runner: Stub, name: str) -> None:
    # Nobody listens on this port, and nobody else can take it.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        found = refused(lambda: pull(runner, f"{address}/{name}"), grpc.StatusCode.UNAVAILABLE)
    assert "no registry answers" in found.details()


def test_a_name_is_not_taken_for_a_part_of_an_id(
    runner: Stub, engine: Engine, started_kata: Kata, shell: str
) -> None:
    image_id = engine.api.inspect_image(shell)["Id"].removeprefix("sha256:")
    asked = request(started_kata, image_name=image_id[:12])
    refused(lambda: runner.Run(asked), grpc.StatusCode.FAILED_PRECONDITION)


@pytest.mark.parametrize(
    "image_name",
    [
        "a",
        "a/b/c",
        "a.b__c-d--e/f",
        "a:Tag_1.x-y",
        "localhost/a",
        "localhost:5000/a:b",
        "Example.com/a",
        "EXAMPLE:5000/a",
        "127.0.0.1:5000/a@sha256:" + "0" * 64,
        "a:b@sha256:" + "0" * 64,
        "x" * image_names.MAX_BYTES,
    ],
)
def test_a_valid_image_name_is_looked_up(runner: Stub, started_kata: Kata, image_name: str) -> None:
    asked = request(started_kata, image_name=image_name)
    refused(lambda: runner.Run(asked), grpc.StatusCode.FAILED_PRECONDITION)
