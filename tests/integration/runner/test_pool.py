"""Warm containers: prepared ahead, used once, and removed when nobody needs them."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import grpc
import pytest

from cyberdojo.runner.v1 import runner_pb2
from dojo import locks, naming
from dojo.engine.client import Engine
from dojo.engine.data_containers import DataContainers
from dojo.naming import Namespace
from dojo.refusals import reason_of
from support.kata_folders import Kata
from support.refusals import facts, retry_seconds
from support.runner.submissions import (
    AVATAR,
    GCC,
    GREEN,
    PYTHON,
    Stub,
    assert_serves,
    containers,
    held,
    prepare,
    refused,
    request,
    waiting_containers,
)
from support.services import Service, wait_until

StartRunner = Callable[..., Service]
Client = Callable[[Service], Stub]


def release(runner: Stub, kata: Kata, avatar: str = AVATAR) -> None:
    runner.Release(runner_pb2.ReleaseRequest(kata_id=kata.id, avatar=avatar))


def was_warm(service: Service, kata: Kata) -> list[bool]:
    """Return for each logged run of the kata whether a warm container had waited for it."""
    events = [event for event in service.events() if event["event"] == "run"]
    return [event["warm"] for event in events if event.get("kata") == kata.id]


def _is_logged(service: Service, kata: Kata, warm: list[bool]) -> bool:
    return was_warm(service, kata) == warm


def test_a_prepared_run_takes_the_warm_container(
    runner: Stub, runner_service: Service, started_kata: Kata, engine: Engine
) -> None:
    assert prepare(runner, started_kata)
    (container,) = waiting_containers(engine, started_kata)
    name = engine.api.inspect_container(container)["Config"]["Hostname"]
    response = runner.Run(request(started_kata, "hostname; echo tests: passed"))
    assert response.stdout.content == f"{name}\ntests: passed\n".encode()
    wait_until(lambda: was_warm(runner_service, started_kata) == [True])


def test_a_run_prepares_the_next_one_and_each_container_serves_its_number_of_runs(
    start_runner: StartRunner, client: Client, started_kata: Kata, engine: Engine
) -> None:
    for runs, containers_used in (("1", 4), ("2", 2), ("1000", 1)):
        service = start_runner(CYBER_DOJO_RUNNER_MAX_RUNS_OF_CONTAINER=runs)
        runner = client(service)
        names = set()
        for _ in range(4):
            names.add(runner.Run(request(started_kata, "hostname")).stdout.content)
            wait_until(lambda: waiting_containers(engine, started_kata))
        assert len(names) == containers_used
        wait_until(partial(_is_logged, service, started_kata, [False, True, True, True]))
        service.stop()


def test_preparing_twice_makes_one_container(
    runner: Stub, started_kata: Kata, engine: Engine
) -> None:
    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(lambda _: prepare(runner, started_kata), range(4)))
    assert len(waiting_containers(engine, started_kata)) == 1


def test_a_run_gets_the_container_that_is_being_prepared(
    runner: Stub, runner_service: Service, started_kata: Kata, engine: Engine
) -> None:
    asked = runner_pb2.PrepareRequest(kata_id=started_kata.id, avatar=AVATAR, image_name=PYTHON)
    preparing = runner.Prepare.future(asked)
    wait_until(lambda: containers(engine, started_kata) + waiting_containers(engine, started_kata))
    assert runner.Run(request(started_kata)).colour == GREEN
    preparing.result()
    wait_until(lambda: was_warm(runner_service, started_kata) == [True])


def test_preparing_succeeds_even_if_the_run_did_not_wait_for_it(
    start_runner: StartRunner, client: Client, started_kata: Kata
) -> None:
    service = start_runner(CYBER_DOJO_RUNNER_MAX_CONCURRENT_RUNS="1")
    runner = client(service)
    for avatar in ("bear", "crab"):
        started_kata.start_avatar(avatar)
    script = "touch here; until [ -e go ]; do sleep 0.01; done"
    first = runner.Run.future(request(started_kata, script, max_seconds=60))
    wait_until((started_kata.sandbox(AVATAR) / "here").exists)
    # While a run waits for a slot, nothing is prepared.
    second = runner.Run.future(request(started_kata, avatar="bear"))
    third = runner.Run.future(request(started_kata, avatar="crab"))
    runner.ListImages(runner_pb2.ListImagesRequest())  # arrives after them
    asked = runner_pb2.PrepareRequest(kata_id=started_kata.id, avatar="crab", image_name=PYTHON)
    preparing = runner.Prepare.future(asked)
    runner.ListImages(runner_pb2.ListImagesRequest())
    assert not preparing.done()
    (started_kata.sandbox(AVATAR) / "go").touch()
    assert [call.result().colour for call in (second, third)] == [GREEN, GREEN]
    preparing.result()
    first.result()


def test_a_full_queue_refuses_at_once_and_says_when_to_try_again(
    start_runner: StartRunner, client: Client, started_kata: Kata
) -> None:
    settings = {
        "CYBER_DOJO_RUNNER_MAX_CONCURRENT_RUNS": "1",
        "CYBER_DOJO_RUNNER_MAX_WAITING_RUNS": "1",
    }
    runner = client(start_runner(**settings))
    for avatar in ("bear", "crab"):
        started_kata.start_avatar(avatar)
    script = "touch here; until [ -e go ]; do sleep 0.01; done"
    first = runner.Run.future(request(started_kata, script, max_seconds=60))
    wait_until((started_kata.sandbox(AVATAR) / "here").exists)
    second = runner.Run.future(request(started_kata, avatar="bear"))
    runner.ListImages(runner_pb2.ListImagesRequest())  # arrives after it
    third = request(started_kata, avatar="crab")
    error = refused(lambda: runner.Run(third), grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert reason_of(error) == "QUEUE_FULL"
    assert facts(error) == {"limit": "1"}
    assert (retry_seconds(error) or 0) >= 1
    (started_kata.sandbox(AVATAR) / "go").touch()
    first.result()
    assert second.result().colour == GREEN
    assert runner.Run(third).colour == GREEN


def test_each_image_has_a_container_of_its_own(
    runner: Stub, started_kata: Kata, engine: Engine
) -> None:
    assert prepare(runner, started_kata)
    assert prepare(runner, started_kata, image_name=GCC)
    assert len(waiting_containers(engine, started_kata)) == 2
    response = runner.Run(request(started_kata, "command -v gcc", image_name=GCC))
    assert response.stdout.content == b"/usr/bin/gcc\n"


def test_a_released_avatar_has_no_container(
    runner: Stub, started_kata: Kata, engine: Engine
) -> None:
    prepare(runner, started_kata)
    release(runner, started_kata, "zebra")
    assert waiting_containers(engine, started_kata)
    release(runner, started_kata)
    wait_until(lambda: not waiting_containers(engine, started_kata))
    release(runner, started_kata)
    assert_serves(runner, started_kata)


def test_an_avatar_that_is_released_during_its_run_has_no_container_afterwards(
    runner: Stub, started_kata: Kata, engine: Engine
) -> None:
    started_kata.start_avatar("zebra")
    run = held(runner, started_kata)
    release(runner, started_kata)
    assert run.release().colour == GREEN
    wait_until(lambda: not containers(engine, started_kata))
    # What the run would have asked for comes before this.
    prepare(runner, started_kata, "zebra")
    wait_until(lambda: len(waiting_containers(engine, started_kata)) == 1)
    release(runner, started_kata, "zebra")
    wait_until(lambda: not waiting_containers(engine, started_kata))


def test_the_least_recently_used_container_is_removed(
    start_runner: StartRunner, client: Client, started_kata: Kata, engine: Engine
) -> None:
    service = start_runner(CYBER_DOJO_RUNNER_MAX_WARM_CONTAINERS="2")
    runner = client(service)
    for avatar in ("bear", "crab"):
        started_kata.start_avatar(avatar)
    for avatar in ("bear", AVATAR, "bear", "crab"):
        assert prepare(runner, started_kata, avatar)
    wait_until(lambda: len(waiting_containers(engine, started_kata)) == 2)
    for avatar in ("bear", "crab", AVATAR):
        assert runner.Run(request(started_kata, avatar=avatar)).colour == GREEN
    wait_until(lambda: was_warm(service, started_kata) == [True, True, False])


def test_a_container_that_waits_too_long_is_removed(
    start_runner: StartRunner, client: Client, started_kata: Kata, engine: Engine
) -> None:
    runner = client(start_runner(CYBER_DOJO_RUNNER_MAX_WARM_SECONDS="1"))
    prepare(runner, started_kata)
    wait_until(lambda: not waiting_containers(engine, started_kata))
    assert_serves(runner, started_kata)


@pytest.mark.parametrize(
    "setting",
    [
        {"CYBER_DOJO_RUNNER_MAX_WARM_CONTAINERS": "0"},
        {"CYBER_DOJO_RUNNER_MIN_AVAILABLE_MEMORY_BYTES": str(2**40)},
    ],
)
def test_no_container_is_prepared_if_the_limit_is_0_or_memory_is_short(
    start_runner: StartRunner,
    client: Client,
    started_kata: Kata,
    engine: Engine,
    setting: dict[str, str],
) -> None:
    runner = client(start_runner(**setting))
    assert not prepare(runner, started_kata)
    assert_serves(runner, started_kata)
    wait_until(
        lambda: not containers(engine, started_kata) + waiting_containers(engine, started_kata)
    )


def test_a_container_that_somebody_removed_is_replaced(
    runner: Stub, runner_service: Service, started_kata: Kata, engine: Engine
) -> None:
    prepare(runner, started_kata)
    for container in waiting_containers(engine, started_kata):
        engine.api.remove_container(container, force=True)
    assert runner.Run(request(started_kata)).colour == GREEN
    wait_until(lambda: was_warm(runner_service, started_kata) == [False])


def test_a_container_outlives_the_handle_that_somebody_pruned(
    runner: Stub, started_kata: Kata, engine: Engine, data_containers: DataContainers
) -> None:
    prepare(runner, started_kata)
    engine.api.remove_container(data_containers.namespace.kata(started_kata.id), v=True)
    for _ in range(2):
        assert runner.Run(request(started_kata)).colour == GREEN
        wait_until(lambda: waiting_containers(engine, started_kata))


def test_a_kata_can_be_deleted_while_containers_wait(
    runner: Stub, started_kata: Kata, engine: Engine, data_containers: DataContainers
) -> None:
    prepare(runner, started_kata)
    with locks.locked(started_kata.folder):
        data_containers.delete(started_kata.id)
    assert not containers(engine, started_kata)
    assert not waiting_containers(engine, started_kata)
    assert not started_kata.folder.exists()
    refused(lambda: runner.Run(request(started_kata)), grpc.StatusCode.NOT_FOUND)
    assert not started_kata.folder.exists()


def test_a_run_uses_a_sandbox_that_was_replaced(
    runner: Stub, runner_service: Service, started_kata: Kata
) -> None:
    prepare(runner, started_kata)
    old, new = started_kata.sandbox(AVATAR), started_kata.folder / "restored"
    shutil.copytree(old, new)
    shutil.chown(new, old.stat().st_uid, old.stat().st_gid)
    (new / "restored.txt").touch()
    shutil.rmtree(old)
    new.rename(old)
    assert (
        runner.Run(request(started_kata, "ls")).stdout.content == b"cyber-dojo.sh\nrestored.txt\n"
    )
    wait_until(lambda: was_warm(runner_service, started_kata) == [False])


@pytest.fixture
def image_name(engine: Engine, namespace: Namespace) -> Iterator[str]:
    """Another name for the Python image, for one test."""
    name = f"{namespace.name}-language"
    engine.api.tag(PYTHON, name)
    yield name
    if engine.has_image(f"{name}:latest"):
        engine.api.remove_image(name)


def waiting_images(engine: Engine, kata: Kata) -> list[str]:
    """Return the image ids of the warm containers."""
    found = engine.api.containers(filters={"label": f"{naming.KATA_LABEL}={kata.id}"})
    waiting = waiting_containers(engine, kata)
    return [each["ImageID"] for each in found if each["Id"] in waiting]


def test_a_run_uses_an_image_that_was_replaced(
    runner: Stub, started_kata: Kata, engine: Engine, image_name: str
) -> None:
    assert prepare(runner, started_kata, image_name=image_name)
    engine.api.tag(GCC, image_name)
    wait_until(lambda: waiting_images(engine, started_kata) == [engine.image_id(GCC)])
    response = runner.Run(request(started_kata, "command -v gcc", image_name=image_name))
    assert response.stdout.content == b"/usr/bin/gcc\n"
    release(runner, started_kata)


def test_a_removed_image_is_missing_even_if_a_container_waited(
    runner: Stub, started_kata: Kata, engine: Engine, image_name: str
) -> None:
    assert prepare(runner, started_kata, image_name=image_name)
    engine.api.remove_image(image_name)
    wait_until(lambda: not waiting_containers(engine, started_kata))
    missing = request(started_kata, image_name=image_name)
    refused(lambda: runner.Run(missing), grpc.StatusCode.FAILED_PRECONDITION)


def test_a_stopped_runner_removes_its_warm_containers(
    start_runner: StartRunner, client: Client, started_kata: Kata, engine: Engine
) -> None:
    service = start_runner()
    prepare(client(service), started_kata)
    service.stop()
    assert not containers(engine, started_kata)
    assert not waiting_containers(engine, started_kata)


def test_warm_containers_of_a_killed_runner_end_and_the_next_runner_removes_them(
    start_runner: StartRunner, client: Client, started_kata: Kata, engine: Engine
) -> None:
    service = start_runner()
    prepare(client(service), started_kata)
    service.kill()
    wait_until(lambda: not waiting_containers(engine, started_kata))
    (ended,) = containers(engine, started_kata)
    # The engine notices the end a moment later.
    wait_until(lambda: engine.api.inspect_container(ended)["State"]["Status"] == "exited")
    runner = client(start_runner())
    assert not containers(engine, started_kata)
    assert_serves(runner, started_kata)


def test_nothing_is_prepared_for_an_unknown_kata_avatar_or_image(
    runner: Stub, started_kata: Kata
) -> None:
    with_image = {"image_name": PYTHON}
    for asked, code in (
        ({"kata_id": "0000000000", "avatar": AVATAR, **with_image}, grpc.StatusCode.NOT_FOUND),
        ({"kata_id": started_kata.id, "avatar": "zebra", **with_image}, grpc.StatusCode.NOT_FOUND),
        (
            {"kata_id": started_kata.id, "avatar": AVATAR, "image_name": "not-here"},
            grpc.StatusCode.FAILED_PRECONDITION,
        ),
        (
            {"kata_id": started_kata.id, "avatar": AVATAR, "image_name": "Not Here"},
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
        ({"kata_id": "..", "avatar": AVATAR, **with_image}, grpc.StatusCode.INVALID_ARGUMENT),
    ):
        refused(partial(runner.Prepare, runner_pb2.PrepareRequest(**asked)), code)
    release = runner_pb2.ReleaseRequest(kata_id=started_kata.id, avatar="../whale")
    refused(lambda: runner.Release(release), grpc.StatusCode.INVALID_ARGUMENT)


def test_pipes_are_unlinked_before_a_program_runs(runner: Stub, started_kata: Kata) -> None:
    prepare(runner, started_kata)
    names = {path.name for path in started_kata.avatar_folder(AVATAR).iterdir()}
    assert names == {"manifest.json", "sandbox"}
    assert runner.Run(request(started_kata)).colour == GREEN


def test_16_tests_at_the_same_time_get_their_own_results(runner: Stub, started_kata: Kata) -> None:
    names = ("bat", "bear", "bee", "crab", "deer", "eagle", "fox", "frog")
    for avatar in names:
        started_kata.start_avatar(avatar)
        assert prepare(runner, started_kata, avatar)

    def press(number: int) -> bytes:
        avatar = names[number % len(names)]
        script = f"echo {number} > {number}.txt; cat {number}.txt; echo tests: passed"
        response = runner.Run(request(started_kata, script, avatar=avatar), timeout=60)
        assert response.colour == GREEN
        return response.stdout.content

    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(press, range(16)))
    assert found == [b"%d\ntests: passed\n" % number for number in range(16)]
