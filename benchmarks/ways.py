"""Ways to run a job in an avatar's sandbox: the runner's, and others to compare with."""

import secrets
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import docker

from benchmarks.places import Job, Place, Runner, container_config, request
from cyber_dojo_client import QueueFull
from cyberdojo.colour.v1 import colour_pb2
from cyberdojo.runner.v1 import runner_pb2
from dojo import avatars, naming

_MS = 1000.0


class Way(ABC):
    """A way to run jobs repeatedly in one sandbox."""

    name = ""

    def __init__(self, place: Place, kata_id: str, avatar: str, job: Job) -> None:
        self.place = place
        self.kata_id = kata_id
        self.avatar = avatar
        self.job = job

    @abstractmethod
    def milliseconds(self) -> float:
        """Run the job once; return how long that took. Raises if the job fails."""

    def submit(self, job: Job) -> None:
        """Set the job of the next run; only files that differ are written."""
        self.job.replace(job, self.place.sandbox(self.kata_id, self.avatar), self.avatar)
        self.job = job

    def ready(self) -> None:  # noqa: B027 - most ways need nothing
        """Prepare a run. This is not measured."""

    def close(self) -> None:  # noqa: B027 - most ways made nothing
        """Remove what this way made."""

    def _docker_options(self) -> list[str]:
        uid = avatars.uid(self.avatar)
        return [
            *("--volumes-from", self.place.namespace.kata(self.kata_id)),
            *("--workdir", str(naming.sandbox_path(self.kata_id, self.avatar))),
            *("--user", f"{uid}:{uid}", "--network", "none", "--env", "HOME=/tmp"),
        ]


class Bare(Way):
    """Inside a running container, timed inside: the test itself and nothing else."""

    name = "bare"

    # EPOCHREALTIME: bash reads the clock without starting a program.
    _LOOP = (
        "while read -r go; do begun=$EPOCHREALTIME; "
        "bash ./cyber-dojo.sh >/dev/null 2>&1 </dev/null; "
        "status=$?; ended=$EPOCHREALTIME; echo $status $((${ended/./} - ${begun/./})); done"
    )

    def __init__(self, place: Place, kata_id: str, avatar: str, job: Job) -> None:
        super().__init__(place, kata_id, avatar, job)
        self.container = f"{place.namespace.name}-bare-{secrets.token_hex(4)}"
        command = ["docker", "run", "--rm", "--interactive", "--name", self.container]
        self._process = subprocess.Popen(
            [*command, *self._docker_options(), job.image_name, "bash", "-c", self._LOOP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.milliseconds()

    def milliseconds(self) -> float:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("docker run has no pipes")
        self._process.stdin.write("go\n")
        status, microseconds = map(int, self._process.stdout.readline().split())
        if status:
            raise RuntimeError(f"{self.job.name} ended with {status}")
        return microseconds / 1000

    def close(self) -> None:
        self._process.communicate()


class DockerExec(Way):
    """`docker exec` in a running container."""

    name = "docker exec"

    def __init__(self, place: Place, kata_id: str, avatar: str, job: Job) -> None:
        super().__init__(place, kata_id, avatar, job)
        self._container = f"{place.namespace.name}-exec-{secrets.token_hex(4)}"
        command = ["docker", "run", "--rm", "--detach", "--init", "--name", self._container]
        subprocess.run(
            [*command, *self._docker_options(), job.image_name, "sleep", "infinity"],
            check=True,
            capture_output=True,
        )

    def milliseconds(self) -> float:
        return _timed(["docker", "exec", self._container, "bash", "./cyber-dojo.sh"])

    def close(self) -> None:
        subprocess.run(["docker", "kill", self._container], check=True, capture_output=True)


class DockerRun(Way):
    """`docker run --rm`, from the command line."""

    name = "docker run"

    def milliseconds(self) -> float:
        command = ["docker", "run", "--rm", *self._docker_options(), self.job.image_name]
        return _timed([*command, "bash", "./cyber-dojo.sh"])


class DockerApi(Way):
    """Create, attach, start and wait through the engine's API, with the limits of a run.

    `removes` says whether the measurement includes removing the container.
    """

    name = "API run"
    removes = True

    def __init__(self, place: Place, kata_id: str, avatar: str, job: Job) -> None:
        super().__init__(place, kata_id, avatar, job)
        self._api = docker.APIClient(base_url=place.engine.url, version="auto")
        self._config = container_config(place, kata_id, avatar, job)

    def milliseconds(self) -> float:
        begun = time.perf_counter()
        container = self._api.create_container_from_config(self._config)["Id"]
        try:
            params = {"stdout": 1, "stderr": 1, "stream": 1}
            attached: Any = self._api.attach_socket(container, params=params)
            self._api.start(container)
            connection = getattr(attached, "_sock", attached)
            while connection.recv(65536):
                pass
            self._api.wait(container)
            attached.close()
            ended = time.perf_counter()
        finally:
            self._api.remove_container(container, force=True)
        return (time.perf_counter() if self.removes else ended) * _MS - begun * _MS

    def close(self) -> None:
        self._api.close()


class DockerApiNotRemoved(DockerApi):
    """The same, but the measurement ends before the container is removed."""

    name = "API create+start+attach+wait"
    removes = False


class Run(Way):
    """The runner's Run."""

    def __init__(self, place: Place, kata_id: str, avatar: str, job: Job, runner: Runner) -> None:
        super().__init__(place, kata_id, avatar, job)
        self._stub = runner.stub
        self._request = request(kata_id, avatar, job)

    def submit(self, job: Job) -> None:
        self.job = job
        self._request = request(self.kata_id, self.avatar, job)

    def milliseconds(self) -> float:
        begun = time.perf_counter()
        response = self._run()
        ended = time.perf_counter()
        if response.colour != colour_pb2.COLOUR_GREEN or response.status:
            raise RuntimeError(f"a run went wrong: {response}")
        return (ended - begun) * _MS

    def _run(self) -> runner_pb2.RunResponse:
        # Clients that never pause can be faster than cold containers are removed.
        while True:
            try:
                return self._stub.Run(self._request)
            except QueueFull as error:
                time.sleep(error.retry_after or 1)


class ColdRun(Run):
    """Run, when no warm container waits."""

    name = "Run cold"

    def ready(self) -> None:
        self._stub.Release(runner_pb2.ReleaseRequest(kata_id=self.kata_id, avatar=self.avatar))


class WarmRun(Run):
    """Run, when a warm container waits."""

    name = "Run warm"

    def ready(self) -> None:
        prepare = runner_pb2.PrepareRequest(
            kata_id=self.kata_id, avatar=self.avatar, image_name=self.job.image_name
        )
        if not self._stub.Prepare(prepare).waiting:
            raise RuntimeError("the runner has no warm container for the next run")


@contextmanager
def ways(
    kinds: list[type[Way]], place: Place, kata_id: str, job: Job, runner: Runner
) -> Iterator[list[Way]]:
    """Yield the ways, each with an avatar of its own, whose sandbox has the job's files."""
    with ExitStack() as stack:
        found: list[Way] = []
        for kind, avatar in zip(kinds, avatars.NAMES, strict=False):
            job.write(place.sandbox(kata_id, avatar), avatar)
            way = (
                kind(place, kata_id, avatar, job, runner)
                if issubclass(kind, Run)
                else kind(place, kata_id, avatar, job)
            )
            stack.callback(way.close)
            found.append(way)
        yield found


def _timed(command: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - begun) * _MS
