"""Health, reflection, and stopping."""

import signal
import socket
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.machines.v1 import machines_pb2
from cyberdojo.runner.v1 import runner_pb2, runner_pb2_grpc
from cyberdojo.startpoints.v1 import startpoints_pb2
from cyberdojo.status.v1 import status_pb2, status_pb2_grpc
from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from dojo.engine.data_containers import DataContainers
from support.kata_folders import Kata
from support.paths import TOP
from support.services import Service, code_of, run_healthcheck, wait_until

SERVICES = {
    "storer": [
        storer_pb2.DESCRIPTOR.services_by_name["StorerService"],
        startpoints_pb2.DESCRIPTOR.services_by_name["StartPointsService"],
        machines_pb2.DESCRIPTOR.services_by_name["MachinesService"],
        status_pb2.DESCRIPTOR.services_by_name["StatusService"],
    ],
    "runner": [
        runner_pb2.DESCRIPTOR.services_by_name["RunnerService"],
        status_pb2.DESCRIPTOR.services_by_name["StatusService"],
    ],
}
# https://www.rfc-editor.org/rfc/rfc9113#section-4.1: length, type, flags and stream of a frame.
HTTP2_SETTINGS = bytes.fromhex("000000 04 00 00000000")
HTTP2_PING = bytes.fromhex("000008 06 00 00000000")

SERVING = health_pb2.HealthCheckResponse.SERVING

each_service = pytest.mark.parametrize("module", SERVICES)

Connect = Callable[[str], grpc.Channel]


@pytest.fixture
def service(module: str, request: pytest.FixtureRequest) -> Service:
    """The shared storer or runner."""
    found: Service = request.getfixturevalue(f"{module}_service")
    return found


@pytest.fixture
def start(start_service: Callable[..., Service]) -> Iterator[Callable[[str], Service]]:
    """Starts services of a test's own, and stops those that still run at its end."""
    started: list[Service] = []

    def start(module: str) -> Service:
        started.append(start_service(module))
        return started[-1]

    yield start
    for service in started:
        if service.is_running:
            service.stop()


@pytest.fixture
def playing(start: Callable[[str], Service], data_containers: DataContainers) -> Iterator[str]:
    """A kata that a storer made, with a whale. It is deleted when the test ends."""
    service = start("storer")
    with grpc.insecure_channel(service.address) as channel:
        storer = storer_pb2_grpc.StorerServiceStub(channel)
        manifest = storer_pb2.Manifest(display_name="a", image_name="a", files={"a": b""})
        kata_id = storer.CreateKata(storer_pb2.CreateKataRequest(manifest=manifest)).kata_id
        storer.StartAvatar(storer_pb2.StartAvatarRequest(kata_id=kata_id, avatars=["whale"]))
    yield kata_id
    data_containers.delete(kata_id)


def check(channel: grpc.Channel, service: str) -> int:
    """Return the health of a service; of the whole server if the name is empty."""
    request = health_pb2.HealthCheckRequest(service=service)
    status: int = health_pb2_grpc.HealthStub(channel).Check(request, timeout=60).status
    return status


@each_service
def test_a_service_and_its_server_are_serving(
    module: str, service: Service, connect: Connect
) -> None:
    channel = connect(service.address)
    for name in ("", *(each.full_name for each in SERVICES[module])):
        wait_until(lambda: check(channel, name) == SERVING)  # noqa: B023 - called now


@each_service
def test_the_health_of_a_service_that_is_not_here_is_not_known(
    service: Service, connect: Connect
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        check(connect(service.address), "cyberdojo.another.v1.AnotherService")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@each_service
def test_health_can_be_watched(service: Service, connect: Connect) -> None:
    health = health_pb2_grpc.HealthStub(connect(service.address))
    watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=60)
    assert any(answer.status == SERVING for answer in watch)
    watch.cancel()


@each_service
def test_a_client_may_ping_an_idle_stream(service: Service) -> None:
    options = [
        ("grpc.keepalive_time_ms", 1500),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    with grpc.insecure_channel(service.address, options) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(), timeout=10
        )
        with pytest.raises(grpc.RpcError) as ended:
            list(watch)
    assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


@each_service
def test_a_client_that_answers_no_ping_is_disconnected(service: Service) -> None:
    host, _, port = service.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as client:
        client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + HTTP2_SETTINGS)
        received = b""
        while piece := client.recv(4096):
            received += piece
    assert HTTP2_PING in received


@each_service
def test_a_client_without_the_protos_can_ask_for_them(
    module: str, service: Service, connect: Connect
) -> None:
    database = ProtoReflectionDescriptorDatabase(connect(service.address))
    assert set(database.get_services()) == {
        *(each.full_name for each in SERVICES[module]),
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    for each in SERVICES[module]:
        found = DescriptorPool(database).FindServiceByName(each.full_name)
        assert {method.name: method.input_type.full_name for method in found.methods} == {
            method.name: method.input_type.full_name for method in each.methods
        }
        assert found.file.name == each.file.name


def test_a_client_without_the_protos_can_ask_both_services_for_one_pool(
    storer_service: Service, runner_service: Service, connect: Connect
) -> None:
    pool, channels = DescriptorPool(), {}
    for service, names in (
        (storer_service, ("storer.v1.StorerService", "startpoints.v1.StartPointsService")),
        (runner_service, ("runner.v1.RunnerService",)),
    ):
        channel = connect(service.address)
        database = ProtoReflectionDescriptorDatabase(channel)
        for name in names:
            add_file(pool, database, database.FindFileContainingSymbol(f"cyberdojo.{name}").name)
            channels[f"cyberdojo.{name}"] = channel

    def call(rpc: str, fields: dict[str, Any]) -> dict[str, Any]:
        service, _, name = rpc.rpartition(".")
        method = pool.FindServiceByName(service).FindMethodByName(name)
        request = json_format.ParseDict(fields, GetMessageClass(method.input_type)())
        answer = channels[service].unary_unary(
            f"/{service}/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )(request)
        found: dict[str, Any] = json_format.MessageToDict(answer)
        return found

    storer, runner = "cyberdojo.storer.v1.StorerService", "cyberdojo.runner.v1.RunnerService"
    asked = {"language": "Python, pytest"}
    found = call("cyberdojo.startpoints.v1.StartPointsService.GetStartPoint", asked)
    manifest = found["manifest"]
    kata = {"kataId": call(f"{storer}.CreateKata", {"manifest": manifest})["kataId"]}
    whale = {**kata, **call(f"{storer}.StartAvatar", {**kata, "avatars": ["whale"]})}
    rule = {key: manifest[key] for key in ("imageName", "colourRule")}
    ran = call(f"{runner}.Run", {**whale, **rule})
    assert ran["colour"] == "COLOUR_RED"
    outcome = {key: ran[key] for key in ("stdout", "status", "colour", "duration")}
    light = call(f"{storer}.RecordTest", {**whale, **outcome})["light"]
    assert (light["number"], light["colour"]) == (1, "COLOUR_RED")
    call(f"{storer}.DeleteKata", kata)


def add_file(pool: DescriptorPool, database: ProtoReflectionDescriptorDatabase, name: str) -> None:
    """Add a file and those that it imports; one that is there has to be the same file."""
    file = database.FindFileByName(name)
    for imported in file.dependency:
        add_file(pool, database, imported)
    pool.Add(file)


@each_service
def test_a_service_tells_its_version_and_the_service_config(
    service: Service, connect: Connect
) -> None:
    stub = status_pb2_grpc.StatusServiceStub(connect(service.address))
    found = stub.GetVersion(status_pb2.GetVersionRequest())
    assert found.version == version("cyber-dojo")
    assert found.service_config == (TOP / "protos/service_config.json").read_text()


@each_service
def test_the_healthcheck_command_says_that_a_service_is_serving(
    service: Service, connect: Connect
) -> None:
    wait_until(lambda: check(connect(service.address), "") == SERVING)
    done = run_healthcheck(service.address)
    assert (done.returncode, done.stdout) == (0, f"{service.address}: serving\n")
    proxied = run_healthcheck(service.address, http_proxy="http://127.0.0.1:1", no_proxy="")
    assert (proxied.returncode, proxied.stdout) == (done.returncode, done.stdout)


@each_service
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_a_service_cleanly(
    module: str, number: signal.Signals, start: Callable[[str], Service], connect: Connect
) -> None:
    service = start(module)
    channel = connect(service.address)
    wait_until(lambda: check(channel, "") == SERVING)
    service.stop(number)
    events = [event["event"] for event in service.events()]
    assert events[-2:] == ["stopping", "stopped"]
    with pytest.raises(grpc.RpcError) as caught:
        check(channel, "")
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_run_in_progress_ends_before_the_runner_does(
    kata: Kata, start: Callable[[str], Service], connect: Connect
) -> None:
    service = start("runner")
    kata.start_avatar("whale")
    runner = runner_pb2_grpc.RunnerServiceStub(connect(service.address))
    request = runner_pb2.RunRequest(
        kata_id=kata.id,
        avatar="whale",
        image_name="cyberdojofoundation/python_pytest",
        files={"cyber-dojo.sh": b"touch begun; while [ -e wait ]; do sleep 0.1; done; echo end"},
        max_seconds=60,
    )
    request.files["wait"] = b""
    call = runner.Run.future(request, timeout=120)
    sandbox = kata.sandbox("whale")
    wait_until((sandbox / "begun").exists)
    service.send_signal(signal.SIGTERM)
    service.wait_for_event(lambda event: event["event"] == "stopping")
    (sandbox / "wait").unlink()
    assert call.result().stdout.content == b"end\n"
    service.wait()


def test_the_longest_run_ends_before_the_runner_does_and_a_waiting_one_is_refused(
    kata: Kata, start_service: Callable[..., Service], connect: Connect
) -> None:
    service = start_service("runner", CYBER_DOJO_RUNNER_MAX_CONCURRENT_RUNS="1")
    try:
        runner = runner_pb2_grpc.RunnerServiceStub(connect(service.address))
        requests = {}
        for avatar in ("whale", "zebra"):
            kata.start_avatar(avatar)
            requests[avatar] = runner_pb2.RunRequest(
                kata_id=kata.id,
                avatar=avatar,
                image_name="cyberdojofoundation/python_pytest",
                files={"cyber-dojo.sh": b"touch begun; sleep 1000"},
                max_seconds=15,
            )
        longest = runner.Run.future(requests["whale"], timeout=120)
        wait_until((kata.sandbox("whale") / "begun").exists)
        other = runner_pb2.RunStreamRequest(run=requests["zebra"])
        waiting = iter(runner.RunStream(other, timeout=120))
        assert next(waiting).HasField("waiting")
        service.send_signal(signal.SIGTERM)
        # Longer than all other calls have, and within the time that a run may take.
        assert longest.result().colour == colour_pb2.COLOUR_TIMED_OUT
        assert code_of(lambda: list(waiting)) is grpc.StatusCode.UNAVAILABLE
        assert not (kata.sandbox("zebra") / "begun").exists()
    finally:
        service.wait()


def test_lights_that_are_being_recorded_are_recorded_before_the_storer_ends(
    playing: str, start: Callable[[str], Service], connect: Connect
) -> None:
    service, other = start("storer"), start("storer")
    request = storer_pb2.RecordTestRequest(
        kata_id=playing, avatar="whale", files={"a": b""}, colour=colour_pb2.COLOUR_RED
    )
    recording = storer_pb2_grpc.StorerServiceStub(connect(service.address))
    calls = [recording.RecordTest.future(request, timeout=60) for _ in range(40)]
    first = calls[0].result().light.number
    service.stop()
    recorded = [call.result().light.number for call in calls if call.exception() is None]
    errors: list[Any] = [call.exception() for call in calls]
    refused = [error.code() for error in errors if error is not None]
    assert first in recorded
    # gRPC cancels calls that arrived too late to be started.
    assert set(refused) <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    reading = storer_pb2_grpc.StorerServiceStub(connect(other.address))
    (whale,) = reading.ListLights(storer_pb2.ListLightsRequest(kata_id=playing)).avatars
    assert [light.number for light in whale.lights] == list(range(len(recorded) + 1))
