"""The services while the docker engine is stopped or hangs, and when it is back."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker.errors
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.runner.v1 import runner_pb2, runner_pb2_grpc
from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from dojo import avatars
from dojo.engine.client import Engine
from support.own_engine import OwnEngine, StartService, services_on_an_own_engine
from support.services import code_of, files_in_use, wait_until

PYTHON = "cyberdojofoundation/python_pytest"
FILES = {"cyber-dojo.sh": b"echo tests: passed\n"}

# The services give up on a hanging engine before this deadline of the caller.
SECONDS = 110

OK, UNAVAILABLE = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE


@dataclass(frozen=True)
class Dojo:
    """A storer and a runner on an engine of their own, and a kata with a whale."""

    engine: OwnEngine
    channels: dict[str, grpc.Channel]
    kata_id: str

    @property
    def storer(self) -> storer_pb2_grpc.StorerServiceStub:
        return storer_pb2_grpc.StorerServiceStub(self.channels["storer"])

    @property
    def runner(self) -> runner_pb2_grpc.RunnerServiceStub:
        return runner_pb2_grpc.RunnerServiceStub(self.channels["runner"])

    def needing_the_engine(self, seconds: float = SECONDS) -> list[Callable[[], object]]:
        """Return calls that need the engine, a run first. `seconds` is the deadline of the run."""
        run = runner_pb2.RunRequest(
            kata_id=self.kata_id, avatar="whale", image_name=PYTHON, files=FILES, max_seconds=10
        )
        list_images = runner_pb2.ListImagesRequest()
        pull = runner_pb2.PullImageRequest(image_name=PYTHON)
        fork = storer_pb2.ForkKataRequest(kata_id=self.kata_id, avatar="whale", light_number=0)
        return [
            lambda: self.runner.Run(run, timeout=seconds),
            lambda: self.runner.ListImages(list_images, timeout=SECONDS),
            lambda: list(self.runner.PullImage(pull, timeout=SECONDS)),
            lambda: create(self.storer),
            lambda: self.storer.ForkKata(fork, timeout=SECONDS),
        ]

    def needing_the_volume_alone(self) -> list[Callable[[], object]]:
        """Return calls that only read and write a kata's volume."""
        kata: dict[str, Any] = {"kata_id": self.kata_id}
        whale: dict[str, Any] = {**kata, "avatar": "whale"}
        storer = self.storer
        return [
            lambda: storer.GetKata(storer_pb2.GetKataRequest(**kata), timeout=SECONDS),
            lambda: storer.ListKatas(storer_pb2.ListKatasRequest(), timeout=SECONDS),
            lambda: storer.ListLights(storer_pb2.ListLightsRequest(**kata), timeout=SECONDS),
            lambda: storer.GetFiles(
                storer_pb2.GetFilesRequest(**whale, light_number=0), timeout=SECONDS
            ),
            lambda: storer.StartAvatar(storer_pb2.StartAvatarRequest(**kata), timeout=SECONDS),
            lambda: list(
                storer.DownloadKata(storer_pb2.DownloadKataRequest(**kata), timeout=SECONDS)
            ),
            lambda: storer.RecordTest(
                storer_pb2.RecordTestRequest(**whale, files=FILES, colour=colour_pb2.COLOUR_RED),
                timeout=SECONDS,
            ),
        ]

    def newest(self) -> int:
        """Return the whale's newest light."""
        request = storer_pb2.ListLightsRequest(kata_id=self.kata_id, avatar="whale")
        number: int = self.storer.ListLights(request).avatars[0].lights[-1].number
        return number

    def health(self) -> set[int]:
        """Return the health of the services."""
        asked = health_pb2.HealthCheckRequest()
        return {
            health_pb2_grpc.HealthStub(channel).Check(asked, timeout=SECONDS).status
            for channel in self.channels.values()
        }

    def katas(self) -> list[str]:
        """Return the ids of all katas."""
        return [each.kata_id for each in self.storer.ListKatas(storer_pb2.ListKatasRequest()).katas]


def create(storer: storer_pb2_grpc.StorerServiceStub) -> str:
    """Make a kata; return its id."""
    manifest = storer_pb2.Manifest(display_name="a", image_name=PYTHON, files=FILES)
    request = storer_pb2.CreateKataRequest(manifest=manifest)
    kata_id: str = storer.CreateKata(request, timeout=SECONDS).kata_id
    return kata_id


def codes(calls: list[Callable[[], object]]) -> list[grpc.StatusCode]:
    """Make all calls at the same time; return the status of each."""
    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(code_of, calls))


@pytest.fixture
def dojo(
    engine: Engine,
    tmp_path_factory: pytest.TempPathFactory,
    start_service: StartService,
    connect: Callable[[str], grpc.Channel],
) -> Iterator[Dojo]:
    modules = ["storer", "runner"]
    folder = tmp_path_factory.mktemp("engine")
    with services_on_an_own_engine(modules, engine, folder, start_service, PYTHON) as found:
        own, services = found
        channels = {each.module: connect(each.address) for each in services}
        storer = storer_pb2_grpc.StorerServiceStub(channels["storer"])
        kata_id = create(storer)
        order = storer_pb2.StartAvatarRequest(kata_id=kata_id, avatars=["whale"])
        storer.StartAvatar(order)
        yield Dojo(own, channels, kata_id)


def test_one_connection_serves_calls_that_follow_each_other(engine: Engine) -> None:
    def sockets() -> int:
        # Those of gRPC, which come and go in threads of its own, are no Unix sockets.
        lines = Path("/proc/net/unix").read_text().splitlines()[1:]
        unix = {f"socket:[{line.split()[6]}]" for line in lines}
        return sum(each in unix for each in files_in_use(os.getpid()))

    before = sockets()
    with contextlib.closing(Engine(engine.url)) as own:
        for number in range(30):
            assert own.container_state(f"not-there-{number}") is None
        assert sockets() == before + 1
    assert sockets() == before


def test_without_an_engine_katas_are_read_and_recorded_and_everything_works_when_it_is_back(
    dojo: Dojo,
) -> None:
    serving = health_pb2.HealthCheckResponse.SERVING
    needing = dojo.needing_the_engine()
    wait_until(lambda: dojo.health() == {serving})
    assert set(codes(needing)) == {OK}
    before = dojo.katas()
    delete = storer_pb2.DeleteKataRequest(kata_id=dojo.kata_id)
    watch = dojo.storer.WatchKata(
        storer_pb2.WatchKataRequest(kata_id=dojo.kata_id), timeout=SECONDS
    )
    events = (each for each in watch if not each.caught_up)
    assert next(events).light.number == 0

    dojo.engine.stop()
    wait_until(lambda: dojo.health() == {health_pb2.HealthCheckResponse.NOT_SERVING})
    assert set(codes([*needing, lambda: dojo.storer.DeleteKata(delete)])) == {UNAVAILABLE}
    assert set(codes(dojo.needing_the_volume_alone())) == {OK}
    assert dojo.katas() == before
    assert dojo.newest() == 1
    assert {(each.avatar, each.light.number) for each in (next(events), next(events))} > {
        ("whale", 1)
    }
    watch.cancel()

    dojo.engine.start()
    wait_until(lambda: dojo.health() == {serving})
    assert set(codes(dojo.needing_the_engine())) == {OK}
    assert set(codes([lambda: dojo.storer.DeleteKata(delete)])) == {OK}
    assert dojo.kata_id not in dojo.katas()


def test_a_handle_that_could_not_be_made_without_an_engine_is_made_when_it_is_back(
    dojo: Dojo,
) -> None:
    with_own = Engine(dojo.engine.url)
    (name,) = [each["Names"][0] for each in with_own.api.containers(all=True)]
    with_own.api.remove_container(name)
    dojo.engine.stop()
    assert set(codes(dojo.needing_the_volume_alone())) == {OK}
    dojo.engine.start()

    def touched() -> bool:
        assert set(codes(dojo.needing_the_volume_alone())) == {OK}
        try:
            with_own.api.inspect_container(name)
        except docker.errors.NotFound:
            return False
        return True

    wait_until(touched)
    with_own.close()


def test_calls_give_up_on_a_hanging_engine_and_succeed_when_it_continues(dojo: Dojo) -> None:
    before = dojo.katas()
    dojo.engine.freeze()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(codes, dojo.needing_the_engine())
        assert set(codes(dojo.needing_the_volume_alone())) == {OK}
        assert not waiting.done()
        wait_until(lambda: dojo.health() == {health_pb2.HealthCheckResponse.NOT_SERVING})
        assert set(waiting.result()) == {UNAVAILABLE}
    # While the engine is known to hang, a run fails at once instead of after 20 seconds.
    run = dojo.needing_the_engine(seconds=15)[0]
    assert codes([run]) == [UNAVAILABLE]
    dojo.engine.thaw()
    wait_until(lambda: dojo.health() == {health_pb2.HealthCheckResponse.SERVING})
    wait_until(lambda: set(codes(dojo.needing_the_engine())) == {OK})
    assert set(before) < set(dojo.katas())


def test_a_kata_is_practised_on_an_engine_that_remaps_users(
    engine: Engine,
    start_service: StartService,
    connect: Callable[[str], grpc.Channel],
) -> None:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o711)  # the engine insists on that its remapped root can pass
    modules = ["storer", "runner"]
    with services_on_an_own_engine(
        modules, engine, folder, start_service, PYTHON, remaps_users=True
    ) as (_, services):
        storer = storer_pb2_grpc.StorerServiceStub(connect(services[0].address))
        runner = runner_pb2_grpc.RunnerServiceStub(connect(services[1].address))
        kata_id = create(storer)
        storer.StartAvatar(storer_pb2.StartAvatarRequest(kata_id=kata_id, avatars=["whale"]))
        files = {"cyber-dojo.sh": b"id -u; stat -c %u . cyber-dojo.sh; echo made > made; pwd\n"}
        request = runner_pb2.RunRequest(
            kata_id=kata_id, avatar="whale", image_name=PYTHON, files=files, max_seconds=10
        )
        for _ in range(2):
            response = runner.Run(request, timeout=60)
            uid = str(avatars.uid("whale")).encode()
            assert response.stdout.content.split()[:3] == [uid] * 3, response
            assert dict(response.changed_files) == {"made": b"made\n"}
