"""One container for one run: made, run, removed. The only module that knows a run's container.

A pool can later hand out objects with the same methods whose containers were started before.
"""

import contextlib
import datetime as dt
import secrets
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import docker.errors
import structlog

from dojo import avatars, naming
from dojo.data_containers import DataContainers
from dojo.engine import ANSWER_SECONDS, answering
from dojo.errors import EngineUnavailable, ImageMissing
from runner import images
from runner.leftovers import Leftovers
from runner.output import Capture, Frames
from runner.settings import RunnerSettings

_log = structlog.get_logger()

_READ_BYTES = 64 * 1024
_CPU_PERIOD_MICROSECONDS = 100_000
# The services have docker's default of 1,024.
_CPU_WEIGHT = 512


class RunLost(EngineUnavailable):
    """Somebody removed the container, or the engine, of a run in progress."""


@dataclass(frozen=True)
class Exit:
    """How a run's program ended and what it wrote.

    `status` is its exit status, 128 + N after signal N. `duration_seconds` is from its start
    to its end.
    """

    stdout: Capture
    stderr: Capture
    status: int
    duration_seconds: float
    is_out_of_memory: bool


class ColdContainer:
    """A container that is made when its run is wanted.

    `start()` once, then `run()` once; `close()` in any case. `kill()` may come from another
    thread while `run()` waits.
    """

    def __init__(
        self,
        data_containers: DataContainers,
        leftovers: Leftovers,
        settings: RunnerSettings,
        *,
        kata_id: str,
        avatar: str,
        image_name: str,
    ) -> None:
        self._data_containers = data_containers
        self._api = data_containers.engine.api
        self._leftovers = leftovers
        self._settings = settings
        self._kata_id = kata_id
        self._avatar = avatar
        self._image_name = image_name
        namespace = data_containers.namespace.name
        self._name = f"{namespace}-run-{kata_id}-{avatar}-{secrets.token_hex(4)}"
        self._attached: Any = None

    def start(self) -> None:
        """Make the container, ready to run.

        Raises ImageMissing if the image is not on this host, KataNotFound if the kata has
        gone, EngineUnavailable if the engine does not answer.
        """
        self._data_containers.ensure_handle(self._kata_id)
        with answering():
            try:
                self._create()
            except docker.errors.ImageNotFound:
                raise ImageMissing(self._image_name) from None
            except docker.errors.NotFound:  # the kata's container was pruned away
                self._data_containers.forget_handle(
                    self._data_containers.namespace.kata(self._kata_id)
                )
                self._data_containers.ensure_handle(self._kata_id)
                self._create()
            # Attached before it starts, so that nothing it writes is missed.
            params = {"stdout": 1, "stderr": 1, "stream": 1}
            self._attached = self._api.attach_socket(self._name, params=params)

    def run(self, max_seconds: int, guarded: AbstractContextManager[object]) -> Exit:
        """Run `sh ./cyber-dojo.sh` to its end, reading all that it writes.

        `guarded` is entered when the program has started and left when it has ended; it is
        what calls `kill()`, after `max_seconds` at the latest. Much longer than that is not
        waited for. Raises RunLost or EngineUnavailable.
        """
        stdout = Capture(self._settings.max_output_bytes)
        stderr = Capture(self._settings.max_output_bytes)
        frames = Frames({Frames.STDOUT: stdout, Frames.STDERR: stderr})
        with answering():
            try:
                self._api.start(self._name)
                deadline = time.monotonic() + max_seconds + ANSWER_SECONDS
                with guarded:
                    self._read(frames, deadline)
                    # A program can close its output and go on: the container's end counts.
                    remaining = max(1, int(deadline - time.monotonic()))
                    self._api.wait(self._name, timeout=remaining)
                state = self._api.inspect_container(self._name)["State"]
            except docker.errors.NotFound:
                raise RunLost("the run's container was removed") from None
        return Exit(
            stdout=stdout,
            stderr=stderr,
            status=state["ExitCode"],
            duration_seconds=_seconds_between(state["StartedAt"], state["FinishedAt"]),
            is_out_of_memory=state["OOMKilled"],
        )

    def kill(self) -> bool:
        """End the program and everything that it started; say whether it still ran."""
        with answering():
            try:
                self._api.kill(self._name)
            except docker.errors.APIError as error:
                if error.status_code in {404, 409}:
                    return False
                raise
        return True

    def close(self) -> None:
        """Remove the container, running or not. If the engine fails to, it is tried again later."""
        if self._attached is not None:
            self._attached.close()
        self._leftovers.remove(self._name)

    def _read(self, frames: Frames, deadline: float) -> None:
        # The docker package hands out the connection wrapped in a file.
        connection = getattr(self._attached, "_sock", self._attached)
        buffer = bytearray(_READ_BYTES)
        view = memoryview(buffer)
        while True:
            connection.settimeout(max(0.1, deadline - time.monotonic()))
            with contextlib.suppress(ConnectionResetError):
                if size_bytes := connection.recv_into(buffer):
                    frames.feed(view[:size_bytes])
                    continue
            return

    def _create(self) -> None:
        settings = self._settings
        uid = avatars.uid(self._avatar)
        config = {
            "Image": images.tagged(self._image_name),
            "Entrypoint": ["sh", "./cyber-dojo.sh"],
            "Cmd": [],
            "WorkingDir": str(naming.sandbox_path(self._kata_id, self._avatar)),
            "User": f"{uid}:{uid}",
            "Env": ["HOME=/tmp"],
            "AttachStdout": True,
            "AttachStderr": True,
            "NetworkDisabled": True,
            "Healthcheck": {"Test": ["NONE"]},
            "Labels": self._data_containers.namespace.labels(
                "run", kata=self._kata_id, avatar=self._avatar
            ),
            "HostConfig": {
                "VolumesFrom": [self._data_containers.namespace.kata(self._kata_id)],
                "NetworkMode": "none",
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges"],
                "ReadonlyRootfs": True,
                "Tmpfs": {"/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={settings.tmp_bytes}"},  # noqa: S108
                # The first process reaps what others leave, and turns death by signal N into
                # 128 + N, where a first process without handlers would survive its own signals.
                "Init": True,
                "Memory": settings.memory_bytes,
                "MemorySwap": settings.memory_bytes,  # memory and swap together
                "PidsLimit": settings.max_processes,
                "CpuShares": _CPU_WEIGHT,
                "CpuPeriod": _CPU_PERIOD_MICROSECONDS,
                "CpuQuota": settings.cpu_percent * _CPU_PERIOD_MICROSECONDS // 100,
                "OomScoreAdj": 500,  # when the host itself has no memory left, runs go first
                "Ulimits": [
                    _ulimit("fsize", settings.max_file_bytes),
                    _ulimit("nofile", settings.max_open_files),
                    _ulimit("core", 0),
                ],
                # Output goes to us alone; kept by the engine it could fill the disk.
                "LogConfig": {"Type": "none", "Config": {}},
            },
        }
        self._api.create_container_from_config(config, self._name)


def _ulimit(name: str, limit: int) -> dict[str, str | int]:
    return {"Name": name, "Soft": limit, "Hard": limit}


def _seconds_between(started: str, finished: str) -> float:
    """Return the time between two of the engine's timestamps, which have nanoseconds."""
    return max(0.0, (_time(finished) - _time(started)).total_seconds())


def _time(text: str) -> dt.datetime:
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    return dt.datetime.fromisoformat(f"{seconds}.{fraction[:6]:0<6}+00:00")
