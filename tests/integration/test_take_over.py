"""A new version takes over the address of the former one, which lets its calls end."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.runner.v1 import runner_pb2_grpc
from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from dojo.engine.data_containers import DataContainers
from support.kata_folders import Kata
from support.runner.submissions import request
from support.services import Service, run_healthcheck, wait_until
from support.storer.fixtures import delete_all

WAITING = "waiting for the address"


@pytest.fixture
def replace(
    start_service: Callable[..., Service],
) -> Iterator[Callable[[Service], Service]]:
    """Starts a new service that waits for the address of another one."""
    started: list[Service] = []

    def start(former: Service) -> Service:
        listen = {
            f"CYBER_DOJO_{former.module.upper()}_LISTEN": former.address,
            "CYBER_DOJO_METRICS_LISTEN": metrics_of(former),
        }
        options = ("--take-over", "600")
        started.append(start_service(former.module, *options, until=WAITING, **listen))
        return started[-1]

    yield start
    for service in started:
        if service.is_running:
            service.stop()


def metrics_of(service: Service) -> str:
    """Return where a service has its metrics."""
    return str(service.wait_for_event(lambda each: each["event"] == "serving metrics")["listen"])


def serving(service: Service) -> bool:
    """Return whether the service serves."""
    return any(event["event"] == "serving" for event in service.events())


def test_a_run_ends_in_the_former_runner_while_the_new_one_serves(
    start_service: Callable[..., Service],
    replace: Callable[[Service], Service],
    kata: Kata,
) -> None:
    kata.start_avatar("whale")
    former = start_service("runner", CYBER_DOJO_METRICS_LISTEN="127.0.0.1:0")
    new = replace(former)
    assert not serving(new)
    with (
        grpc.insecure_channel(former.address) as channel,
        ThreadPoolExecutor() as threads,
    ):
        stub = runner_pb2_grpc.RunnerServiceStub(channel)
        go_on = kata.sandbox("whale") / "go_on"
        script = "touch begun; until [ -e go_on ]; do sleep 0.05; done; echo it went on"
        run = threads.submit(stub.Run, request(kata, script))
        wait_until((kata.sandbox("whale") / "begun").exists)
        stopping = threads.submit(former.stop)
        wait_until(lambda: serving(new))
        wait_until(lambda: run_healthcheck(new.address).returncode == 0)
        assert metrics_of(new) == metrics_of(former)
        assert former.is_running
        assert not run.done()
        go_on.touch()
        assert run.result().stdout.content == b"it went on\n"
        stopping.result()
    assert not former.troubles()
    assert not new.troubles()


def test_no_light_is_lost_and_no_call_that_waits_fails_when_storers_are_replaced(
    start_service: Callable[..., Service],
    replace: Callable[[Service], Service],
    data_containers: DataContainers,
) -> None:
    former = start_service("storer", CYBER_DOJO_METRICS_LISTEN="127.0.0.1:0")
    manifest = storer_pb2.Manifest(display_name="a", image_name="a", files={"a": b""})
    with grpc.insecure_channel(former.address) as channel:
        storer = storer_pb2_grpc.StorerServiceStub(channel)
        kata_id = storer.CreateKata(storer_pb2.CreateKataRequest(manifest=manifest)).kata_id
        storer.StartAvatar(storer_pb2.StartAvatarRequest(kata_id=kata_id, avatars=["whale"]))
        recorded: list[int] = []
        is_over = threading.Event()

        def record() -> None:
            while not is_over.is_set():
                test = storer_pb2.RecordTestRequest(
                    kata_id=kata_id,
                    avatar="whale",
                    files={"a": b"%d" % len(recorded)},
                    colour=colour_pb2.COLOUR_RED,
                    request_id=str(len(recorded)),
                )
                try:
                    light = storer.RecordTest(test, wait_for_ready=True, timeout=60).light
                except grpc.RpcError as error:
                    if error.code() is not grpc.StatusCode.UNAVAILABLE:
                        raise
                    continue  # its connection was just closed: the same request again
                recorded.append(light.number)

        with ThreadPoolExecutor() as threads:
            recording = threads.submit(record)
            for _ in range(2):
                new = replace(former)
                before = len(recorded)
                former.stop()
                wait_until(lambda found=new: serving(found))  # type: ignore[misc]
                wait_until(lambda count=before: len(recorded) > count + 2)  # type: ignore[misc]
                former = new
            is_over.set()
            recording.result()
        assert recorded == list(range(1, len(recorded) + 1))
        request = storer_pb2.ListLightsRequest(kata_id=kata_id)
        (whale,) = storer.ListLights(request).avatars
        assert [light.number for light in whale.lights] == [0, *recorded]
    delete_all(data_containers)
