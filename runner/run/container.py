"""The container of an avatar's runs: creating, running and removing it.

A container serves one run, for which it waits from its start; or, if there is a launcher in it, one
run after the other, each of which has namespaces of its own.
"""

import contextlib
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import docker.errors
import structlog

from dojo import avatars, locks
from dojo.engine.client import ANSWER_SECONDS, translating_errors
from dojo.engine.data_containers import DataContainers
from dojo.errors import EngineUnavailable, ImageMissing, ImageUnusable, RunLost
from runner.engine.container_remover import RUN_KIND, ContainerRemover
from runner.launch.control_group import Usage
from runner.launch.init_process import InitProcess
from runner.launch.launcher import ContainerGone, Launcher, Launchers, LaunchFailed, Started
from runner.run import container_config, entrypoint, streams
from runner.run.capture import Capture
from runner.run.container_config import Parts, RunKey
from runner.run.pipes import Pipes
from runner.run.streams import Streams, UnnamedPipes
from runner.run.watchdog import EndedBy, Watchdog
from runner.sandbox.sandbox import AvatarFolder, SandboxId
from runner.settings import RunnerSettings

_log = structlog.get_logger()

_KILLED = 128 + 9
_NO_SUCH_PROGRAM = {126, 127}
# The engine's answers for a container that was removed (404), or is being removed (409).
_REMOVED = {404, 409}
# What the engine says of an image that has a file where a folder is to be mounted.
_NOT_THE_SAME_KIND = "mount a directory onto a file"
_A_FILE_IN_THE_WAY = "it has a file where a run has a folder, or a folder where a run has a file"
# The engine's answer for a container that can't be started as it was asked for.
_BAD_REQUEST = 400
# How often the kata's handle is created again for one run, while something else removes it.
_MAX_ATTEMPTS = 3
# How long a container may take to end whose processes have all been killed.
_ENDING_SECONDS = 5
# A container that holds more than this part of its memory between two runs is let go.
_HELD_PART = 16


@dataclass(frozen=True)
class Exit:
    """How a run's program ended, and what it wrote.

    `status` is its exit status, 128 + N after signal N. `duration_seconds` is the time from its
    start to its end. `was_killed` says that all of its processes were killed at once, and not by
    the watchdog. `is_status_spoilt` says that the program wrote to the pipe of the exit status, so
    that it is not known. `usage` is None in a container of the run's own.
    """

    stdout: Capture
    stderr: Capture
    status: int
    duration_seconds: float
    is_out_of_memory: bool = False
    was_killed: bool = False
    is_status_spoilt: bool = False
    usage: Usage | None = None


class RunContainer:
    """A container that waits, in the avatar's sandbox, for a run to begin.

    Call `start()` once, then `run()` once, and again after each `prepare_next()` that says so; and
    `close()` in any case. Only one thread at a time may use it.
    """

    def __init__(
        self,
        data_containers: DataContainers,
        remover: ContainerRemover,
        settings: RunnerSettings,
        key: RunKey,
        *,
        seccomp_profile: str,
        launchers: Launchers | None,
    ) -> None:
        """Without `launchers`, the container is for one run."""
        self.key = key
        self.sandbox_id: SandboxId | None = None
        self.image_id = ""
        self.image_checked = time.monotonic()
        """When its image's name last stood for its image, on the monotonic clock."""
        self._data_containers = data_containers
        self._api = data_containers.engine.api
        self._remover = remover
        self._settings = settings
        self._seccomp_profile = seccomp_profile
        self._launchers = launchers
        namespace = data_containers.namespace.name
        token = secrets.token_hex(4)
        self._name = f"{namespace}-run-{key.kata_id}-{key.avatar}-{token}"
        # Not only digits: programs would take such a name for an address, and not look it up.
        self._hostname = f"{key.avatar}-{token}"
        self._id = ""
        self._covered: list[str] = []
        self._pipes: Pipes | None = None
        self._init: InitProcess | None = None
        self._launcher: Launcher | None = None
        self._next: UnnamedPipes | None = None
        self._program: Started | None = None
        self._started = time.monotonic()
        self._runs = 0
        self._is_broken = False

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
            self._pipes.add_file(container_config.HOSTS, container_config.hosts(self._hostname))
            self.sandbox_id = folder.sandbox_id
            with translating_errors(self._data_containers.volume_root):
                self._create_with_handle(self._pipes)
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
                    reason = container_config.VOLUMES + reason
                    raise ImageUnusable(self.key.image_name, reason) from None
                raise
            found = self._inspected()
            self.image_id = found["Image"]
            self._init = InitProcess.find(found["State"]["Pid"], self._id)
            if not self._pipes.wait_until_ready(ANSWER_SECONDS, self._has_ended):
                if self._has_ended():
                    self._wait()  # the engine learns later how the container ended
                self._raise_why_not_ready(self._state())
        if self._launchers is not None and self._init is not None:
            self._start_launcher(self._launchers, found)
            if self._launcher is not None:
                self._order_next(self._launcher)

    def is_waiting(self) -> bool:
        """Say whether the container still waits for a run. Somebody may have removed it."""
        if self._pipes is None or not self._pipes.is_waiting():
            return False
        return self._launcher is None or (self._next is not None and self._launcher.is_there())

    def prepare_next(self) -> bool:
        """Have the next run's shell wait in its namespaces; say whether that was ordered.

        It is not if the container may serve no run after those that it has served. What comes of
        it shows when the run begins.
        """
        self._let_go_of_run()
        if self._launcher is None or self._pipes is None or not self._may_run_again(self._launcher):
            return False
        self._pipes.tell(entrypoint.FREE)
        return self._order_next(self._launcher)

    def _order_next(self, launcher: Launcher) -> bool:
        pipes = UnnamedPipes(avatars.uid(self.key.avatar))
        try:
            launcher.order(pipes.handed)
        except LaunchFailed:
            pipes.close()
            return False
        pipes.close_handed()
        self._next = pipes
        return True

    def run(
        self, watchdog: Watchdog, on_output: Callable[[str, bytes], None] | None = None
    ) -> Exit:
        """Run `./cyber-dojo.sh` to its end, and read its output.

        `watchdog` ends the run if it does not end by itself. `on_output` gets the first bytes of
        each stream as they come, with "out" or "err". All processes of the run have ended when
        this returns. Raises RunLost or EngineUnavailable; and LaunchFailed if the program could not
        be started, so that another container can run it.
        """
        if self._pipes is None:
            raise RuntimeError("the container was not started")
        if self._launcher is None:
            self._pipes.tell(entrypoint.GO)
            ended = self._follow(self._pipes, self._init, watchdog, on_output)
            if self._init is None:
                self._wait()
            return self._with_cause(ended) if watchdog.ended_by is EndedBy.ITSELF else ended
        return self._run_with(self._launcher, self._pipes, watchdog, on_output)

    def kill(self) -> bool:
        """Kill all processes of the run; say whether the program still ran."""
        process = self._init
        if self._launcher is not None:
            process = None if self._program is None else self._program.process
        if process is not None:
            with contextlib.suppress(PermissionError):
                return process.kill()
        with translating_errors():
            try:
                self._api.kill(self._name)
            except docker.errors.APIError as error:
                if error.status_code in _REMOVED or not self._runs_still():
                    return False
                raise
        return True

    def close(self) -> None:
        """Remove the container, running or not. If the engine fails, the remover tries again."""
        self._let_go_of_run()
        if self._launcher is not None:
            self._launcher.close()
            self._launcher = None
        if self._next is not None:
            self._next.close()
            self._next = None
        if self._pipes is not None:
            self._pipes.close()
            self._pipes = None
        if self._init is not None:
            self._init.close()
            self._init = None
        self._remover.remove(self._name)

    def _start_launcher(self, launchers: Launchers, found: Mapping[str, Any]) -> None:
        try:
            self._launcher = launchers.start(
                container_config.place(self.key, found, self._settings)
            )
        except LaunchFailed as error:
            if isinstance(error, ContainerGone) and self._ends():
                raise RunLost("its container was removed") from None
            # It can serve one run all the same.
            _log.warning("no launcher", container=self._name, reason=str(error))

    def _may_run_again(self, launcher: Launcher) -> bool:
        """Say whether the container may serve one more run after those that it has served."""
        if self._is_broken or self._runs >= self._settings.runs_of_container:
            return False
        if time.monotonic() > self._started + self._settings.max_container_seconds:
            return False
        held_bytes = launcher.control_group.held_bytes()
        return held_bytes <= self._settings.memory_bytes // _HELD_PART

    def _let_go_of_run(self) -> None:
        """Let go of the run that has ended: of its mounts, and what it has written there."""
        if self._program is not None:
            self._program.close()
            self._program = None

    def _run_with(
        self,
        launcher: Launcher,
        own_pipes: Pipes,
        watchdog: Watchdog,
        on_output: Callable[[str, bytes], None] | None,
    ) -> Exit:
        self._runs += 1
        self._is_broken = True  # until the run has ended as it should
        kills = launcher.control_group.killed_for_memory()
        pipes, self._next = self._next, None
        if pipes is None:
            raise LaunchFailed("the launcher has ended")
        with contextlib.closing(pipes):
            self._program = launcher.ordered()
            usage = launcher.control_group.begin_usage()
            _begin(pipes)
            own_pipes.tell(entrypoint.BUSY)  # not before, as it takes a processor for a moment
            ended = self._follow(pipes, self._program.process, watchdog, on_output)
        # One that was killed together with its launcher was killed with its container.
        if ended.was_killed and not launcher.answers() and self._ends():
            return self._with_cause(ended)
        is_out_of_memory = launcher.control_group.killed_for_memory() > kills
        self._is_broken = is_out_of_memory or ended.was_killed or ended.is_status_spoilt
        return replace(ended, is_out_of_memory=is_out_of_memory, usage=usage())

    def _follow(
        self,
        pipes: Streams,
        process: InitProcess | None,
        watchdog: Watchdog,
        on_output: Callable[[str, bytes], None] | None,
    ) -> Exit:
        """Read the output of the run that has just begun, until it has ended."""
        captures = {
            name: Capture(
                self._settings.max_output_bytes,
                None if on_output is None else partial(on_output, name),
            )
            for name in (streams.OUT, streams.ERR)
        }
        begun = time.monotonic()
        watchdog.begin()
        on_data = {name: capture.add for name, capture in captures.items()}
        pipes.follow(on_data, watchdog.check, process, self._has_ended)
        ended_by_itself = watchdog.ended_by is EndedBy.ITSELF
        return Exit(
            stdout=captures[streams.OUT],
            stderr=captures[streams.ERR],
            status=_KILLED if pipes.status is None else pipes.status,
            duration_seconds=time.monotonic() - begun,
            was_killed=ended_by_itself and pipes.status is None and not pipes.is_status_spoilt,
            is_status_spoilt=ended_by_itself and pipes.is_status_spoilt,
        )

    def _has_ended(self) -> bool:
        """Say whether all processes of the container have ended; ask the engine only if need be."""
        if self._init is not None:
            return self._init.has_ended()
        return not self._state()["Running"]

    def _ends(self) -> bool:
        """Wait a moment for the container to end; say whether it has."""
        return self._init is not None and self._init.wait(_ENDING_SECONDS)

    def _with_cause(self, ended: Exit) -> Exit:
        """Ask the engine how the run ended, if there are signs that the kernel killed a process.

        Asking takes ten times as long as running `true`, so it is not done for every run.
        """
        signs = ended.was_killed or ended.status == _KILLED
        if not signs and b"Killed" not in ended.stderr.both_ends + ended.stdout.both_ends:
            return ended
        self._wait()
        is_out_of_memory = self._state()["OOMKilled"]
        # An engine that is being stopped kills all containers, and may still tell of it.
        was_stopped = ended.was_killed and not is_out_of_memory
        if was_stopped and not self._data_containers.engine.listens():
            raise EngineUnavailable("it was stopped during the run")
        return replace(ended, is_out_of_memory=is_out_of_memory)

    def _wait(self) -> None:
        """Wait until the engine knows that all processes have ended."""
        with translating_errors():
            try:
                self._api.wait(self._name, timeout=ANSWER_SECONDS)
            except docker.errors.NotFound:
                raise RunLost("its container was removed") from None

    def _inspected(self) -> Mapping[str, Any]:
        found = self._data_containers.engine.container(self._name)
        if found is None:
            raise RunLost("its container was removed")
        return found

    def _state(self) -> Mapping[str, Any]:
        state: Mapping[str, Any] = self._inspected()["State"]
        return state

    def _state_if_there(self) -> Mapping[str, Any] | None:
        return self._data_containers.engine.container_state(self._name)

    def _runs_still(self) -> bool:
        """Ask the engine whether the container still runs."""
        state = self._state_if_there()
        return state is not None and bool(state["Running"])

    def _raise_why_not_ready(self, state: Mapping[str, Any]) -> None:
        if state["ExitCode"] in _NO_SUCH_PROGRAM:
            raise ImageUnusable(self.key.image_name, "it has no sh that could be run")
        raise EngineUnavailable("a container was lost before it was ready")

    def _create_with_handle(self, pipes: Pipes) -> None:
        """Create the container; create the kata's handle again first if somebody pruned it."""
        handle = self._data_containers.namespace.kata(self.key.kata_id)
        for _ in range(_MAX_ATTEMPTS):
            try:
                self._create(pipes)
            except docker.errors.ImageNotFound:
                raise ImageMissing(self.key.image_name, self._settings.machine) from None
            except docker.errors.APIError as error:
                # The engine answers 404 or 400 if the kata's handle does not exist.
                if handle not in str(error.explanation):
                    if not self._data_containers.engine.has_image(self.key.image):
                        raise ImageMissing(self.key.image_name, self._settings.machine) from None
                    raise
            else:
                return
            self._data_containers.forget_handle(handle)
            self._data_containers.ensure_handle(self.key.kata_id)
        raise EngineUnavailable(f"somebody removes the container {handle} again and again")

    def _create(self, pipes: Pipes) -> None:
        key = self.key
        volumes = self._data_containers.engine.image_volumes(key.image)
        self._covered = container_config.paths_to_cover(key.image_name, volumes)
        parts = Parts(
            handle=self._data_containers.namespace.kata(key.kata_id),
            volume=self._data_containers.mountpoint(key.kata_id),
            pipes_folder=pipes.folder_name,
            hostname=self._hostname,
            labels=self._remover.labels(RUN_KIND, kata=key.kata_id, avatar=key.avatar),
            covered_paths=self._covered,
            seccomp_profile=self._seccomp_profile,
        )
        config = container_config.config(key, parts, self._settings)
        self._id = self._api.create_container_from_config(config, self._name)["Id"]


def _begin(pipes: UnnamedPipes) -> None:
    """Let a run begin whose shell waits at the pipes. Raises LaunchFailed if it no longer does."""
    try:
        pipes.tell(entrypoint.GO)
    except BrokenPipeError:
        raise LaunchFailed("the run's shell has ended before it began") from None
