"""Machines that are set up as docs/many-machines.md says practise, with TLS between all of them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from cyber_dojo_client import Client
from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.storer.v1 import storer_pb2
from dojo.engine.client import Engine
from support.machines.deployment import NAMES, Composed, Deployment, Processes
from support.machines.fleet import Fleet
from support.runner.submissions import COLOUR_RULE, PYTHON
from support.services import wait_until

FILES = {"cyber-dojo.sh": b"echo tests: passed"}
MANIFEST = storer_pb2.Manifest(
    display_name="Python", image_name=PYTHON, files=FILES, max_seconds=30, colour_rule=COLOUR_RULE
)
KATAS = 6


class Class:
    """Katas, with an avatar in each, which all press test by way of one router or another."""

    def __init__(self, client: Client) -> None:
        self.lights = 0
        self.kata_ids = []
        for _ in range(KATAS):
            request = storer_pb2.CreateKataRequest(manifest=MANIFEST)
            kata_id = client.call(client.storer.CreateKata, request).kata_id
            start = storer_pb2.StartAvatarRequest(kata_id=kata_id, avatars=["whale"])
            client.call(client.storer.StartAvatar, start)
            self.kata_ids.append(kata_id)

    def press(self, client: Client) -> None:
        """Press test in each kata, at once, and assert that each is green and the next light."""

        def press(kata_id: str) -> None:
            pressed = client.press_test(kata_id, "whale", MANIFEST, FILES)
            assert pressed.light.colour == colour_pb2.COLOUR_GREEN
            assert pressed.light.number == self.lights + 1

        with ThreadPoolExecutor(KATAS) as threads:
            list(threads.map(press, self.kata_ids))
        self.lights += 1


@pytest.fixture(params=[Processes, Composed])
def deployment(
    engine: Engine,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
    pytestconfig: pytest.Config,
) -> Iterator[Deployment]:
    """Three machines that serve."""
    folder = tmp_path_factory.mktemp("deployment")
    if request.param is Composed and not pytestconfig.getoption("composed_machines"):
        pytest.skip("takes minutes: make test-machines")
    with Fleet(tmp_path_factory.mktemp("fleet")) as fleet:
        made: Deployment = request.param(fleet, folder)
        try:
            made.start(engine, PYTHON)
            yield made
        finally:
            made.close()


def katas_of(deployment: Deployment, name: str) -> dict[str, int]:
    """Return how many katas each machine has, as one of them tells."""
    found = deployment.run(name, "cluster", "status", "--json").records()
    return {each["name"]: each["katas"] for each in found}


def test_a_class_practises_while_a_machine_is_lost_and_one_is_drained(
    deployment: Deployment,
) -> None:
    assert deployment.states("n1") == dict.fromkeys(NAMES, "UP")
    assert (deployment.run("n2", "cluster", "images").code) == 0
    assert all("pytest" in page for page in deployment.pages())
    with deployment.client("n2") as client, deployment.client("n3") as other:
        practice = Class(client)
        practice.press(client)
        practice.press(other)
        assert sum(katas_of(deployment, "n3").values()) == KATAS
        deployment.lose("n1")
        practice.press(client)
        assert deployment.run("n3", "cluster", "drain", "n3").code == 0
        wait_until(lambda: katas_of(deployment, "n2")["n3"] == 0)
        wait_until(lambda: deployment.states("n2")["n3"] == "NOLB")
        practice.press(other)
        assert katas_of(deployment, "n2") == {"n2": KATAS, "n3": 0}
