"""The container of one run: creating, running and removing it. Only this module knows how."""

import contextlib
import posixpath
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePath, PurePosixPath
from typing import Any

import docker.errors
import structlog

from dojo import avatars, image_names, locks, naming
from dojo.engine.client import ANSWER_SECONDS, translating_errors
from dojo.engine.data_containers import DataContainers
from dojo.errors import EngineUnavailable, ImageMissing, ImageUnusable, RunLost
from runner.engine.container_remover import RUN_KIND, ContainerRemover
from runner.run import entrypoint, pipes
from runner.run.capture import Capture
from runner.run.init_process import InitProcess
from runner.run.pipes import Pipes
from runner.run.watchdog import EndedBy, Watchdog
from runner.sandbox.sandbox import AvatarFolder, SandboxId
from runner.settings import RunnerSettings

_log = structlog.get_logger()

_CPU_PERIOD_MICROSECONDS = 100_000
# The services have docker's default of 1,024.
_CPU_WEIGHT = 512
_KILLED = 128 + 9
# The name, in the pipes' folder, of the file for /etc/hosts. The file is mounted when that folder
# is removed, so the container keeps it.
_HOSTS = "hosts"
_TMP, _SHM = "/tmp", "/dev/shm"  # noqa: S108 - in the container
# Where each run has a mount, whatever its image declares there.
_MOUNTED = {_TMP, str(naming.SANDBOX_ELSEWHERE)}
_SHM_BYTES = 64 * 1024**2
_NO_SUCH_PROGRAM = {126, 127}
# The engine's answers for a container that was removed (404), or is being removed (409).
_REMOVED = {404, 409}
# What the engine says of an image that has a file where a folder is to be mounted.
_NOT_THE_SAME_KIND = "mount a directory onto a file"
_A_FILE_IN_THE_WAY = "it has a file where a run has a folder, or a folder where a run has a file"
# The engine's answer for a container that can't be started as it was asked for.
_BAD_REQUEST = 400
_VOLUMES = "it declares volumes, and "
# How often the kata's handle is created again for one run, while something else removes it.
_MAX_ATTEMPTS = 3


@dataclass(frozen=True)
class RunKey:
    """What a container is for: a run of an avatar in an image."""

    kata_id: str
    avatar: str
    image_name: str


@dataclass(frozen=True)
class Exit:
    """How a run's program ended, and what it wrote.

    `status` is its exit status, 128 + N after signal N. `duration_seconds` is the time from its
    start to its end. `was_killed` says that everything in its container was killed at once, and
    not by the watchdog. `is_status_spoilt` says that the program wrote to the pipe of the exit
    status, so that it is not known.
    """

    stdout: Capture
    stderr: Capture
    status: int
    duration_seconds: float
    is_out_of_memory: bool = False
    was_killed: bool = False
    is_status_spoilt: bool = False


class RunContainer:
    """A container that waits, in the avatar's sandbox, for its one run to begin.

    Call `start()` once, then `run()` once, and `close()` in any case. Only one thread at a time may
    use it; but any thread may call `kill()`.
    """

    def __init__(
        self,
        data_containers: DataContainers,
        remover: ContainerRemover,
        settings: RunnerSettings,
        seccomp_profile: str,
        key: RunKey,
    ) -> None:
        self.key = key
        self.sandbox_id: SandboxId | None = None
        self._data_containers = data_containers
        self._api = data_containers.engine.api
        self._remover = remover
        self._settings = settings
        self._seccomp_profile = seccomp_profile
        namespace = data_containers.namespace.name
        token = secrets.token_hex(4)
        self._name = f"{namespace}-run-{key.kata_id}-{key.avatar}-{token}"
        # Not only digits: programs would take such a name for an address, and not look it up.
        self._hostname = f"{key.avatar}-{token}"
        self._id = ""
        self._covered: list[str] = []
        self._pipes: Pipes | None = None
        self._init: InitProcess | None = None

    def start(self, folder: AvatarFolder) -> None:
        """Create and start the container, and wait until it waits in the sandbox in `folder`.

        Raises ImageMissing if the image is not on this host, ImageUnusable if it has no `sh`, a
        file where a folder is mounted, or a volume that nothing can be run with, and
        EngineUnavailable. If the kata or the avatar's folder is removed at the same time, raises
        any error of the disk or the engine.
        """
        kata_id = self.key.kata_id
        # Deleting the kata takes this lock exclusively. Without it, this container could come to
        # hold a volume that is being removed.
        with locks.locked(self._data_containers.folder(kata_id), shared=True):
            self._data_containers.ensure_handle(kata_id)
            self._pipes = Pipes(folder.descriptor, folder.uid)
            self._pipes.add_file(_HOSTS, _hosts(self._hostname))
            self.sandbox_id = folder.sandbox_id
            with translating_errors(self._data_containers.volume_root):
                self._create_with_handle()
        with translating_errors(self._data_containers.volume_root):
            try:
                self._api.start(self._name)
            except docker.errors.APIError as error:
                # The engine has many answers for a container that is removed while it starts.
                if error.status_code in _REMOVED or self._state_if_there() is None:
                    raise RunLost("its container was removed") from None
                if _NOT_THE_SAME_KIND in str(error.explanation):
                    raise ImageUnusable(self.key.image_name, _A_FILE_IN_THE_WAY) from None
                if error.status_code == _BAD_REQUEST and self._covered:
                    reason = f"nothing can be run without what it has at {', '.join(self._covered)}"
                    raise ImageUnusable(self.key.image_name, _VOLUMES + reason) from None
                raise
            self._init = InitProcess.find(self._state()["Pid"], self._id)
            if not self._pipes.wait_until_ready(ANSWER_SECONDS, self._has_ended):
                if self._has_ended():
                    self._wait()  # the engine learns later how the container ended
                self._raise_why_not_ready(self._state())

    def is_waiting(self) -> bool:
        """Say whether the container still waits for its run. Somebody may have removed it."""
        return self._pipes is not None and self._pipes.is_waiting()

    def run(
        self, watchdog: Watchdog, on_output: Callable[[str, bytes], None] | None = None
    ) -> Exit:
        """Run `./cyber-dojo.sh` to its end, and read its output.

        `watchdog` ends the run if it does not end by itself. `on_output` gets the first bytes of
        each stream as they come, with "out" or "err". All processes of the run have ended when
        this returns. Raises RunLost or EngineUnavailable.
        """
        if self._pipes is None:
            raise RuntimeError("the container was not started")
        captures = {
            name: Capture(
                self._settings.max_output_bytes,
                None if on_output is None else partial(on_output, name),
            )
            for name in (pipes.OUT, pipes.ERR)
        }
        begun = time.monotonic()
        watchdog.begin()
        self._pipes.begin()
        on_data = {name: capture.add for name, capture in captures.items()}
        self._pipes.follow(on_data, watchdog.check, self._init, self._has_ended)
        duration_seconds = time.monotonic() - begun
        if self._init is None:
            self._wait()
        ended = Exit(
            stdout=captures[pipes.OUT],
            stderr=captures[pipes.ERR],
            status=_KILLED if self._pipes.status is None else self._pipes.status,
            duration_seconds=duration_seconds,
        )
        if watchdog.ended_by is not EndedBy.ITSELF:
            return ended
        if self._pipes.is_status_spoilt:
            return self._with_cause(replace(ended, is_status_spoilt=True), was_killed=False)
        return self._with_cause(ended, was_killed=self._pipes.status is None)

    def kill(self) -> bool:
        """Kill all processes of the container; say whether the program still ran."""
        if self._init is not None:
            with contextlib.suppress(PermissionError):
                return self._init.kill()
        with translating_errors():
            try:
                self._api.kill(self._name)
            except docker.errors.APIError as error:
                if error.status_code in _REMOVED or not self._runs():
                    return False
                raise
        return True

    def close(self) -> None:
        """Remove the container, running or not. If the engine fails, the remover tries again."""
        if self._pipes is not None:
            self._pipes.close()
            self._pipes = None
        if self._init is not None:
            self._init.close()
            self._init = None
        self._remover.remove(self._name)

    def _has_ended(self) -> bool:
        """Say whether all processes of the container have ended; ask the engine only if need be."""
        if self._init is not None:
            return self._init.has_ended()
        return not self._state()["Running"]

    def _with_cause(self, ended: Exit, *, was_killed: bool) -> Exit:
        """Ask the engine how the run ended, if there are signs that the kernel killed a process.

        Asking takes ten times as long as running `true`, so it is not done for every run.
        """
        signs = was_killed or ended.status == _KILLED
        if not signs and b"Killed" not in ended.stderr.both_ends + ended.stdout.both_ends:
            return ended
        self._wait()
        is_out_of_memory = self._state()["OOMKilled"]
        # An engine that is being stopped kills all containers, and may still tell of it.
        if was_killed and not is_out_of_memory and not self._data_containers.engine.listens():
            raise EngineUnavailable("it was stopped during the run")
        return replace(ended, is_out_of_memory=is_out_of_memory, was_killed=was_killed)

    def _wait(self) -> None:
        """Wait until the engine knows that all processes have ended."""
        with translating_errors():
            try:
                self._api.wait(self._name, timeout=ANSWER_SECONDS)
            except docker.errors.NotFound:
                raise RunLost("its container was removed") from None

    def _state(self) -> Mapping[str, Any]:
        found = self._state_if_there()
        if found is None:
            raise RunLost("its container was removed")
        return found

    def _state_if_there(self) -> Mapping[str, Any] | None:
        return self._data_containers.engine.container_state(self._name)

    def _runs(self) -> bool:
        """Ask the engine whether the container still runs."""
        state = self._state_if_there()
        return state is not None and bool(state["Running"])

    def _raise_why_not_ready(self, state: Mapping[str, Any]) -> None:
        if state["ExitCode"] in _NO_SUCH_PROGRAM:
            raise ImageUnusable(self.key.image_name, "it has no sh that could be run")
        raise EngineUnavailable("a container was lost before it was ready")

    def _create_with_handle(self) -> None:
        """Create the container; create the kata's handle again first if somebody pruned it."""
        handle = self._data_containers.namespace.kata(self.key.kata_id)
        for _ in range(_MAX_ATTEMPTS):
            try:
                self._create()
            except docker.errors.ImageNotFound:
                raise ImageMissing(self.key.image_name) from None
            except docker.errors.APIError as error:
                # The engine answers 404 or 400 if the kata's handle does not exist.
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
        volume = self._data_containers.mountpoint(key.kata_id)
        volumes = self._data_containers.engine.image_volumes(self._image)
        self._covered = _paths_to_cover(key.image_name, volumes)
        config = {
            "Image": self._image,
            "Entrypoint": entrypoint.entrypoint(str(naming.mount_path(key.kata_id) / pipes_path)),
            "Cmd": [],
            "WorkingDir": str(naming.sandbox_path(key.kata_id, key.avatar)),
            "User": f"{uid}:{uid}",
            "Env": entrypoint.environment(key.kata_id, key.avatar, key.image_name),
            "Hostname": self._hostname,
            # Otherwise the engine takes twice as long, to set up a network with nothing in it. The
            # engine then makes no /etc/hosts, so we mount one.
            "NetworkDisabled": True,
            "Healthcheck": {"Test": ["NONE"]},
            "Labels": self._remover.labels(RUN_KIND, kata=key.kata_id, avatar=key.avatar),
            "HostConfig": {
                "VolumesFrom": [self._data_containers.namespace.kata(key.kata_id)],
                "Mounts": [
                    _bind(volume / pipes_path / _HOSTS, "/etc/hosts", read_only=True),
                    _bind(volume / key.avatar / naming.SANDBOX, str(naming.SANDBOX_ELSEWHERE)),
                    *map(_covering_mount, self._covered),
                ],
                "NetworkMode": "none",
                # The files of a sandbox have the avatar's user id, so a container has the
                # machine's own, also on an engine with userns-remap.
                "UsernsMode": "host",
                "Runtime": settings.runtime,
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges", f"seccomp={self._seccomp_profile}"],
                "ReadonlyRootfs": True,
                "ShmSize": _SHM_BYTES,
                "Tmpfs": {_TMP: f"rw,exec,nosuid,nodev,mode=1777,size={tmp_bytes}"},
                # An init process reaps orphaned processes, and can't be killed by the program.
                "Init": True,
                "Memory": settings.memory_bytes,
                "MemorySwap": settings.memory_bytes,  # memory and swap together
                # Besides the run's own processes: the init process, and the shell that waits.
                "PidsLimit": settings.max_processes + 2,
                "CpuShares": _CPU_WEIGHT,
                "CpuPeriod": _CPU_PERIOD_MICROSECONDS,
                "CpuQuota": settings.cpu_percent * _CPU_PERIOD_MICROSECONDS // 100,
                "OomScoreAdj": 500,  # if the host runs out of memory, runs go before services
                "Ulimits": [
                    _ulimit("fsize", settings.max_file_bytes),
                    _ulimit("nofile", settings.max_open_files),
                    _ulimit("stack", settings.max_stack_bytes),
                    _ulimit("core", 0),
                ],
                # A program that reaches the container's own output must not fill the disk with it.
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
    """Return an /etc/hosts in which a program finds localhost and its own host."""
    return (
        f"127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n"
    ).encode()


def _bind(path: PurePath, target: str, *, read_only: bool = False) -> dict[str, str | bool]:
    return {"Type": "bind", "Source": str(path), "Target": target, "ReadOnly": read_only}


def _paths_to_cover(image_name: str, volumes: Iterable[str]) -> list[str]:
    """Return the paths, of those that an image declares as volumes, that have to be covered.

    The engine would make writable volumes on the disk there. Raises ImageUnusable for what can't be
    covered. That is also what is in a sandbox: the engine would make folders in it, as root.
    """
    paths = set()
    for volume in volumes:
        path = posixpath.normpath("/" + volume.lstrip("/"))
        is_in_a_sandbox = any(
            folder in PurePosixPath(path).parents
            for folder in (naming.SANDBOX_ELSEWHERE, naming.KATAS_ROOT)
        )
        if not volume.startswith("/") or path == "/" or is_in_a_sandbox:
            raise ImageUnusable(image_name, f"{_VOLUMES}a run can have none at {volume}")
        paths.add(path)
    return sorted(paths - _MOUNTED)


def _covering_mount(path: str) -> dict[str, Any]:
    """Return a mount over what the image has there. Only shared memory can be written."""
    mount: dict[str, Any] = {"Type": "tmpfs", "Target": path}
    if path == _SHM:
        return {**mount, "TmpfsOptions": {"SizeBytes": _SHM_BYTES, "Mode": 0o1777}}
    return {**mount, "ReadOnly": True}


def _ulimit(name: str, limit: int) -> dict[str, str | int]:
    return {"Name": name, "Soft": limit, "Hard": limit}
