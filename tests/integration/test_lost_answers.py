"""An answer that is lost, at any RPC and with either client, leaves neither orphans nor doubles.

The client makes the call again by itself. What streams is not here: a watch goes on, a download
leaves no file (`tests/unit/clients`), and a restore sent again restores once (`test_request.py`).
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from cyber_dojo_client import Client
from cyberdojo.runner.v1 import runner_pb2
from cyberdojo.startpoints.v1 import startpoints_pb2
from cyberdojo.storer.v1 import storer_pb2
from dojo.engine.data_containers import DataContainers
from support.clients import python_driver
from support.clients.node_driver import Drive, node_driver
from support.runner.submissions import PYTHON
from support.services import Service, wait_until
from support.storer.fixtures import delete_all
from support.storer.stalling_proxy import StallingProxy, stalling_proxy
from support.storer.storing import Katas, a_manifest, a_test

SERVICES: dict[str, Any] = {
    "storer": storer_pb2.DESCRIPTOR.services_by_name["StorerService"],
    "start_points": startpoints_pb2.DESCRIPTOR.services_by_name["StartPointsService"],
    "runner": runner_pb2.DESCRIPTOR.services_by_name["RunnerService"],
}
RPCS = {
    f"{service}.{method.name}"
    for service, descriptor in SERVICES.items()
    for method in descriptor.methods
    if not (method.client_streaming or method.server_streaming)
}


def requests(kata_id: str) -> dict[str, dict[str, Any]]:
    """Return a request to each RPC, of a kata in which the whale has recorded a test."""
    kata: dict[str, Any] = {"kataId": kata_id}
    whale = {**kata, "avatar": "whale"}
    place = {**whale, "imageName": PYTHON}
    return {
        "storer.CreateKata": {"manifest": json_format.MessageToDict(a_manifest())},
        "storer.GetKata": kata,
        "storer.SetOptions": {**kata, "options": {"theme": "THEME_DARK", "predict": False}},
        "storer.CompleteKataId": {"partialId": kata_id[:6]},
        "storer.ListKatas": {},
        "storer.ImportKata": kata,
        "storer.ForkKata": {**whale, "lightNumber": -1},
        "storer.DeleteKata": kata,
        "storer.ArchiveKata": kata,
        "storer.StartAvatar": {**kata, "avatars": ["whale", "zebra"]},
        "storer.ListAvatars": kata,
        "storer.ListLights": kata,
        "storer.RecordTest": json_format.MessageToDict(a_test(kata_id, "whale")),
        "storer.RecordEdit": {**whale, "files": {"edited": ""}},
        "storer.GetFiles": {**whale, "lightNumber": -1},
        "storer.GetOutputs": {**kata, "lights": [{"avatar": "whale", "lightNumber": -1}]},
        "storer.DiffLights": {**whale, "wasNumber": 0, "nowNumber": 1},
        "storer.ListBackups": {},
        "start_points.ListLanguages": {},
        "start_points.ListExercises": {},
        "start_points.ListCustomStartPoints": {},
        "start_points.GetStartPoint": {"language": "C (gcc), assert"},
        "start_points.CheckStartPoint": {"files": {"manifest.json": "e30="}},  # {}
        "runner.Run": {**place, "files": {"cyber-dojo.sh": "dHJ1ZQ=="}},  # true
        "runner.Prepare": place,
        "runner.Release": whale,
        "runner.ListImages": {},
    }


CHANGE = {
    "storer.CreateKata",
    "storer.ForkKata",
    "storer.StartAvatar",
    "storer.RecordTest",
    "storer.RecordEdit",
    "storer.SetOptions",
    "storer.DeleteKata",
    "storer.ArchiveKata",
}
# A second one finds nothing, which says that the first one did it.
ANSWERED_BY = {"storer.DeleteKata": "NoSuchKata"}


@pytest.fixture(scope="module")
def node() -> Iterator[Drive]:
    with node_driver() as drive:
        yield drive


@pytest.fixture(scope="module")
def services(
    start_service: Callable[..., Service],
    start_points: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Service]]:
    """A storer and a runner that log each call."""
    settings = {"CYBER_DOJO_LOG_LEVEL": "access"}
    archive = str(tmp_path_factory.mktemp("archive"))
    storer = start_service(
        "storer",
        CYBER_DOJO_START_POINTS=str(start_points),
        CYBER_DOJO_ARCHIVE=archive,
        **settings,
    )
    runner = start_service("runner", CYBER_DOJO_STORER=storer.address, **settings)
    yield {"storer": storer, "start_points": storer, "runner": runner}
    runner.stop()
    storer.stop()


@pytest.fixture
def katas(services: dict[str, Service], data_containers: DataContainers) -> Iterator[Katas]:
    with Client(services["storer"].address) as client:
        katas = Katas(client.storer)
        yield katas
        for kata_id in all_katas(katas):
            katas.delete(kata_id)
    delete_all(data_containers)


@pytest.fixture
def proxies(services: dict[str, Service]) -> Iterator[dict[str, StallingProxy]]:
    with (
        stalling_proxy(services["storer"].address, 2**62) as storer,
        stalling_proxy(services["runner"].address, 2**62) as runner,
    ):
        yield {"storer": storer, "start_points": storer, "runner": runner}


def all_katas(katas: Katas) -> set[str]:
    found = katas.stub.ListKatas(storer_pb2.ListKatasRequest())
    return {each.kata_id for each in found.katas}


def everything(katas: Katas, data_containers: DataContainers) -> object:
    """Return all katas with their lights and options, and all volumes of katas."""
    listed = katas.stub.ListKatas(storer_pb2.ListKatasRequest(with_details=True))
    found = {
        each.kata_id: (each.source, each.details.avatar_count, each.details.light_count)
        for each in listed.katas
    }
    here = storer_pb2.KATA_SOURCE_DATA_CONTAINER
    edits = [
        len(avatar.edits)
        for each in listed.katas
        if each.source == here
        for avatar in katas.stub.ListLights(
            storer_pb2.ListLightsRequest(kata_id=each.kata_id, with_edits=True)
        ).avatars
    ]
    options = [
        katas.get(each.kata_id).options.SerializeToString(deterministic=True)
        for each in listed.katas
        if each.source == here
    ]
    return found, edits, options, sorted(data_containers.kata_ids())


def done(service: Service, name: str) -> int:
    """Return how many calls of an RPC the service has answered."""
    rpc = name.partition(".")[2]
    return sum(each.get("rpc", "").endswith(rpc) for each in service.events())


def test_each_rpc_has_a_request_here() -> None:
    assert requests("493A06504A").keys() == RPCS


@pytest.mark.parametrize("language", ["python", "node"])
@pytest.mark.parametrize("name", sorted(requests("493A06504A")))
def test_a_call_whose_answer_is_lost_does_its_work_once(  # noqa: PLR0917 - its fixtures
    language: str,
    name: str,
    katas: Katas,
    node: Drive,
    services: dict[str, Service],
    proxies: dict[str, StallingProxy],
    data_containers: DataContainers,
    tmp_path: Path,
) -> None:
    service, proxy = services[name.partition(".")[0]], proxies[name.partition(".")[0]]
    kata_id = katas.started("whale")
    katas.record(kata_id, "whale")
    before = everything(katas, data_containers)
    task = {"retry": name, "request": requests(kata_id)[name], "seconds": 60}

    def drive() -> dict[str, Any]:
        if language == "node":
            return node({"task": task, "address": proxy.address, "folder": str(tmp_path)})
        return python_driver.drive(Client, task, proxy.address, tmp_path, b"")

    answered = done(service, name)
    proxy.lose_next()
    with ThreadPoolExecutor(1) as threads:
        comes = threads.submit(drive)
        wait_until(lambda: done(service, name) > answered)
        after_the_first = everything(katas, data_containers)
        assert not comes.done()
        proxy.resume()
        if error := comes.result().get("error"):
            assert error["type"] == ANSWERED_BY.get(name), error
        else:
            assert "answer" in comes.result()
    wait_until(lambda: done(service, name) > answered + 1)  # its line comes after its answer
    assert everything(katas, data_containers) == after_the_first
    assert (after_the_first != before) == (name in CHANGE)
