"""One container for one run: made, run, removed. The only module that knows a run's container."""

import contextlib
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import docker.errors
import structlog

from dojo import avatars, image_names, locks, naming
from dojo.engine.client import ANSWER_SECONDS, translating_errors
from dojo.engine.data_containers import DataContainers
from dojo.errors import EngineUnavailable, ImageMissing, ImageUnusable
from runner.engine import seccomp
from runner.engine.container_remover import ContainerRemover
from runner.run import entrypoint, pipes
from runner.run.init_process import InitProcess
from runner.run.output import Capture, Exit
from runner.run.pipes import Pipes
from runner.run.watchdog import Ended, Guard
from runner.sandbox.sandbox import AvatarFolder, SandboxId
from runner.settings import RunnerSettings

_log = structlog.get_logger()

_CPU_PERIOD_MICROSECONDS = 100_000
# The services have docker's default of 1,024.
_CPU_WEIGHT = 512
_KILLED = 128 + 9
_SECCOMP_PROFILE = seccomp.profile()
# In the folder of the pipes: it is mounted before its name goes.
_HOSTS = "hosts"
_NO_SUCH_PROGRAM = {126, 127}
# What the engine answers about a container that was removed (404), or just is (409).
_REMOVED = {404, 409}
# How often the kata's container is made again for one of a run, while others prune.
_HANDLES_MADE = 3


class RunLost(EngineUnavailable):
    """Somebody removed the container, or the engine, of a run in progress."""


@dataclass(frozen=True)
class RunKey:
    """What a container is made for: the runs of an avatar in an image."""

    kata_id: str
    avatar: str
    image_name: str


class RunContainer:
    """A container that waits, in the avatar's sandbox, for its one run to begin.

    `start()` once, then `run()` once; `close()` in any case. All but `kill()` belong to one
    thread at a time.
    """

    def __init__(
        self,
        data_containers: DataContainers,
        leftovers: ContainerRemover,
        settings: RunnerSettings,
        key: RunKey,
    ) -> None:
        self.key = key
        self.sandbox_id: SandboxId | None = None
        self._data_containers = data_containers
        self._api = data_containers.engine.api
        self._leftovers = leftovers
        self._settings = settings
        namespace = data_containers.namespace.name
        token = secrets.token_hex(4)
        self._name = f"{namespace}-run-{key.kata_id}-{key.avatar}-{token}"
        # A name of digits alone is taken for an address, and not looked for.
        self._hostname = f"{key.avatar}-{token}"
        self._id = ""
        self._pipes: Pipes | None = None
        self._process: InitProcess | None = None

    def start(self, folder: AvatarFolder) -> None:
        """Make the container and start it; it then waits in the sandbox in `folder`.

        Raises ImageMissing if the image is not on this host, ImageUnusable if it has no `sh`,
        EngineUnavailable if the engine does not answer; and whatever comes of it if the kata or
        the avatar's folder has gone, or goes meanwhile.
        """
        kata_id = self.key.kata_id
        # Deleting the kata takes this lock too: it finds the container, or there is none.
        with locks.locked(self._data_containers.folder(kata_id), shared=True):
            self._data_containers.ensure_handle(kata_id)
            self._pipes = Pipes(folder.descriptor, folder.uid)
            self._pipes.put_beside(_HOSTS, _hosts(self._hostname))
            self.sandbox_id = folder.sandbox_id
            with translating_errors():
                self._create_with_handle()
        with translating_errors():
            try:
                self._api.start(self._name)
            except docker.errors.APIError as error:
                # One that goes while it is started is refused in many ways.
                if error.status_code in _REMOVED or self._state_if_there() is None:
                    raise RunLost("the run's container was removed") from None
                raise
            self._process = InitProcess.find(self._state()["Pid"], self._id)
            if not self._pipes.wait_until_ready(ANSWER_SECONDS, self._has_ended):
                if self._has_ended():
                    self._wait()  # the engine hears of it later, and then knows how
                self._raise_why_not_ready(self._state())

    def is_waiting(self) -> bool:
        """Say whether it still waits for its run to begin; it may have been removed."""
        return self._pipes is not None and self._pipes.is_waiting()

    def run(self, guard: Guard, on_output: Callable[[str, bytes], None] | None = None) -> Exit:
        """Run `./cyber-dojo.sh` to its end, reading all that it writes.

        `guard` is what ends it if it does not end by itself. `on_output` gets what is kept of
        the output as it comes, with "out" or "err". Nothing of the run lives when it returns.
        Raises RunLost or EngineUnavailable.
        """
        if self._pipes is None:
            raise RuntimeError("the container was not started")
        kept = {
            name: Capture(
                self._settings.max_output_bytes,
                None if on_output is None else partial(on_output, name),
            )
            for name in (pipes.OUT, pipes.ERR)
        }
        begun = time.monotonic()
        guard.begin()
        self._pipes.begin()
        take = {name: capture.add for name, capture in kept.items()}
        self._pipes.follow(take, guard.look, self._process)
        duration_seconds = time.monotonic() - begun
        if self._process is None:
            self._wait()
        ended = Exit(
            stdout=kept[pipes.OUT],
            stderr=kept[pipes.ERR],
            status=_KILLED if self._pipes.status is None else self._pipes.status,
            duration_seconds=duration_seconds,
        )
        if guard.ended is not Ended.BY_ITSELF:
            return ended
        if self._pipes.is_status_spoilt:
            return self._looked_into(replace(ended, is_status_spoilt=True), was_killed=False)
        return self._looked_into(ended, was_killed=self._pipes.status is None)

    def kill(self) -> bool:
        """End the program and everything that it started; say whether it still ran."""
        if self._process is not None:
            with contextlib.suppress(PermissionError):
                return self._process.kill()
        with translating_errors():
            try:
                self._api.kill(self._name)
            except docker.errors.APIError as error:
                if error.status_code in _REMOVED or self._has_gone():
                    return False
                raise
        return True

    def close(self) -> None:
        """Remove the container, running or not. If the engine fails to, it is tried again later."""
        if self._pipes is not None:
            self._pipes.close()
            self._pipes = None
        if self._process is not None:
            self._process.close()
            self._process = None
        self._leftovers.remove(self._name)

    def _has_ended(self) -> bool:
        """Say whether all of its processes have gone, by the engine's word if need be."""
        if self._process is not None:
            return self._process.has_ended()
        return not self._state()["Running"]

    def _looked_into(self, ended: Exit, *, was_killed: bool) -> Exit:
        """Ask the engine how it ended, where there are signs that the kernel killed some of it.

        To ask takes ten times as long as to run `true`, so it is not done for every run.
        """
        signs = was_killed or ended.status == _KILLED
        if not signs and b"Killed" not in ended.stderr.both_ends + ended.stdout.both_ends:
            return ended
        self._wait()
        state = self._state()
        return replace(ended, is_out_of_memory=state["OOMKilled"], was_killed=was_killed)

    def _wait(self) -> None:
        """Wait until the engine knows that all processes have ended."""
        with translating_errors():
            try:
                self._api.wait(self._name, timeout=ANSWER_SECONDS)
            except docker.errors.NotFound:
                raise RunLost("the run's container was removed") from None

    def _state(self) -> Mapping[str, Any]:
        found = self._state_if_there()
        if found is None:
            raise RunLost("the run's container was removed")
        return found

    def _state_if_there(self) -> Mapping[str, Any] | None:
        return self._data_containers.engine.container_state(self._name)

    def _has_gone(self) -> bool:
        """Say whether the engine knows no process of it."""
        state = self._state_if_there()
        return state is None or not state["Running"]

    def _raise_why_not_ready(self, state: Mapping[str, Any]) -> None:
        if state["ExitCode"] in _NO_SUCH_PROGRAM:
            raise ImageUnusable(self.key.image_name, "it has no sh that could be run")
        raise EngineUnavailable("a container was lost before it was ready")

    def _create_with_handle(self) -> None:
        """Create it, with the kata's container, which is made again where it was pruned away."""
        handle = self._data_containers.namespace.kata(self.key.kata_id)
        for _ in range(_HANDLES_MADE):
            try:
                self._create()
            except docker.errors.ImageNotFound:
                raise ImageMissing(self.key.image_name) from None
            except docker.errors.APIError as error:
                # The engine calls it 404 or 400 that the kata's container is not there.
                if handle not in str(error.explanation):
                    if not self._data_containers.engine.has_image(self._image):
                        raise ImageMissing(self.key.image_name) from None
                    raise
            else:
                return
            self._data_containers.forget_handle(handle)
            self._data_containers.ensure_handle(self.key.kata_id)
        raise EngineUnavailable(f"somebody removes the container {handle} again and again")

    def _create(self) -> None:
        settings = self._settings
        key = self.key
        uid = avatars.uid(key.avatar)
        tmp_bytes = settings.tmp_bytes + entrypoint.HOME_BYTES
        pipes_path = PurePosixPath(key.avatar, self._folder_name)
        hosts = self._data_containers.mountpoint(key.kata_id) / pipes_path / _HOSTS
        config = {
            "Image": self._image,
            "Entrypoint": entrypoint.entrypoint(str(naming.mount_path(key.kata_id) / pipes_path)),
            "Cmd": [],
            "WorkingDir": str(naming.sandbox_path(key.kata_id, key.avatar)),
            "User": f"{uid}:{uid}",
            "Env": entrypoint.environment(key.kata_id, key.avatar, key.image_name),
            "Hostname": self._hostname,
            # Without it the engine spends as long again on a network that has nothing in it. With
            # it there is no /etc/hosts, which is therefore ours.
            "NetworkDisabled": True,
            "Healthcheck": {"Test": ["NONE"]},
            "Labels": self._data_containers.namespace.labels(
                "run", kata=key.kata_id, avatar=key.avatar
            ),
            "HostConfig": {
                "VolumesFrom": [self._data_containers.namespace.kata(key.kata_id)],
                "Mounts": [
                    {
                        "Type": "bind",
                        "Source": str(hosts),
                        "Target": "/etc/hosts",
                        "ReadOnly": True,
                    }
                ],
                "NetworkMode": "none",
                "Runtime": settings.runtime,
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges", f"seccomp={_SECCOMP_PROFILE}"],
                "ReadonlyRootfs": True,
                "Tmpfs": {"/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={tmp_bytes}"},  # noqa: S108
                # The first process reaps what others leave, and can't be killed by them.
                "Init": True,
                "Memory": settings.memory_bytes,
                "MemorySwap": settings.memory_bytes,  # memory and swap together
                # Beside the run's own: the first process, and the one that waits.
                "PidsLimit": settings.max_processes + 2,
                "CpuShares": _CPU_WEIGHT,
                "CpuPeriod": _CPU_PERIOD_MICROSECONDS,
                "CpuQuota": settings.cpu_percent * _CPU_PERIOD_MICROSECONDS // 100,
                "OomScoreAdj": 500,  # when the host itself has no memory left, runs go first
                "Ulimits": [
                    _ulimit("fsize", settings.max_file_bytes),
                    _ulimit("nofile", settings.max_open_files),
                    _ulimit("core", 0),
                ],
                # Nothing is to come out of a container but through its pipes.
                "LogConfig": {"Type": "none", "Config": {}},
            },
        }
        self._id = self._api.create_container_from_config(config, self._name)["Id"]

    @property
    def _image(self) -> str:
        return image_names.tagged(self.key.image_name)

    @property
    def _folder_name(self) -> str:
        return self._pipes.folder_name if self._pipes is not None else ""


def _hosts(hostname: str) -> bytes:
    """Return an /etc/hosts by which a program finds itself."""
    return (
        f"127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n"
    ).encode()


def _ulimit(name: str, limit: int) -> dict[str, str | int]:
    return {"Name": name, "Soft": limit, "Hard": limit}
