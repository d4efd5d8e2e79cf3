"""The clients, packed and installed into an empty place, do what the pages say."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from cyber_dojo_client import Client
from cyberdojo.runner.v1 import runner_pb2
from cyberdojo.startpoints.v1 import startpoints_pb2
from cyberdojo.storer.v1 import storer_pb2
from dojo.engine.data_containers import DataContainers
from support.clients import installed
from support.clients.installed import Node, Python
from support.paths import TOP
from support.services import Service, wait_until
from support.storer.fixtures import delete_all
from support.storer.stalling_proxy import stalling_proxy


@pytest.fixture(autouse=True)
def _tidy(data_containers: DataContainers) -> Iterator[None]:
    yield
    delete_all(data_containers)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Python | Node]:
    packed = tmp_path_factory.mktemp("packed")
    installed.pack(packed)
    return {
        "python": Python(packed, tmp_path_factory.mktemp("python")),
        "node": Node(packed, tmp_path_factory.mktemp("node")),
    }


WEB_TIER = """\
true 10
manifest.json: is missing
whale 0 hiker.c, hiker.h, hiker.tests.c, cyber-dojo.sh, makefile
1 colour_red
1
1.1 notes.txt
7 * 8?
true
stale true
0 true
1 true
2 true
hiker.c 1 1
whale fine
kata.tar.gz
3
nosuchkata no_such_kata
"""


@pytest.mark.parametrize("language", ["python", "node"])
def test_the_page_for_web_tiers_runs_as_it_stands(
    language: str,
    places: dict[str, Python | Node],
    storer_service: Service,
    runner_service: Service,
) -> None:
    place = places[language]
    script = installed.snippets(TOP / "docs/web-tier.md", place.fence)
    script = script.replace("127.0.0.1:4577", storer_service.address)
    script = script.replace("127.0.0.1:4597", runner_service.address)
    assert place.run(script).lower() == WEB_TIER


TYPES = """\
import { Client } from "@cyber-dojo/client";
const { storer } = new Client();
const number: number | undefined = (await storer.recordTest({ kataId: "" })).light?.number;
// @ts-expect-error: a string where bytes belong
await storer.recordTest({ files: { "hiker.c": "int main;" } });
// @ts-expect-error: a field in another case
await storer.recordTest({ kata_id: "" });
// @ts-expect-error: a word for an enum
await storer.recordTest({ colour: "COLOUR_RED" });
for await (const { avatar } of storer.watchKata({ kataId: "" })) avatar.toUpperCase();
"""


def test_the_node_package_has_types_that_tell_right_from_wrong(
    places: dict[str, Python | Node],
) -> None:
    place = places["node"]
    assert isinstance(place, Node)
    place.check_types(TYPES)


@pytest.fixture
def kata_id(storer_service: Service) -> str:
    """A kata of gcc_assert in which the whale has started."""
    with Client(storer_service.address) as client:
        asked = startpoints_pb2.GetStartPointRequest(language="C (gcc), assert")
        manifest = client.start_points.GetStartPoint(asked).manifest
        create = storer_pb2.CreateKataRequest(manifest=manifest)
        made = client.call(client.storer.CreateKata, create).kata_id
        start = storer_pb2.StartAvatarRequest(kata_id=made, avatars=["whale"])
        client.call(client.storer.StartAvatar, start)
    return made


@pytest.mark.parametrize("language", ["python", "node"])
def test_the_page_of_a_package_runs_as_it_stands(
    language: str,
    places: dict[str, Python | Node],
    storer_service: Service,
    runner_service: Service,
    kata_id: str,
) -> None:
    place = places[language]
    script = installed.snippets(TOP / "clients" / language / "README.md", place.fence)
    script = script.replace("127.0.0.1:4577", storer_service.address)
    script = script.replace("127.0.0.1:4597", runner_service.address)
    assert place.run(script.replace("493A06504A", kata_id)).startswith("1 gcc ")


def test_a_press_of_test_whose_answer_is_lost_records_one_light(
    storer_service: Service, runner_service: Service, kata_id: str
) -> None:
    asked = storer_pb2.GetFilesRequest(kata_id=kata_id, avatar="whale", light_number=-1)
    with (
        stalling_proxy(storer_service.address, 2**62) as proxy,
        Client(proxy.address, runner_service.address) as client,
        Client(storer_service.address) as watching,
        ThreadPoolExecutor(1) as threads,
    ):
        manifest = client.storer.GetKata(storer_pb2.GetKataRequest(kata_id=kata_id)).manifest

        def newest() -> int:
            return watching.storer.GetFiles(asked).light.number

        def lose_the_answer() -> None:
            wait_until(lambda: newest() == 1)
            proxy.resume()

        def when_it_has_run(part: runner_pb2.RunStreamResponse) -> None:
            if part.HasField("result"):
                proxy.stall()
                threads.submit(lose_the_answer)

        files = manifest.files
        pressed = client.press_test(kata_id, "whale", manifest, files, on_part=when_it_has_run)
        assert pressed.light.number == newest() == 1
