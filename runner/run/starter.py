"""Starts the containers of runs."""

import structlog

from dojo import image_names, locks
from dojo.engine.data_containers import DataContainers
from dojo.errors import DojoError
from runner.engine.container_remover import ContainerRemover
from runner.launch.launcher import Launchers
from runner.run.container import RunContainer
from runner.run.container_config import RunKey
from runner.sandbox.sandbox import AvatarFolder
from runner.sandbox.sandboxes import Sandboxes
from runner.settings import RunnerSettings

_log = structlog.get_logger()


class ContainerStarter:
    """Starts containers that wait for their run. Any thread may use it."""

    def __init__(
        self,
        data_containers: DataContainers,
        sandboxes: Sandboxes,
        remover: ContainerRemover,
        settings: RunnerSettings,
        *,
        seccomp_profile: str,
        launchers: Launchers | None,
    ) -> None:
        """Without `launchers`, each container is for one run."""
        self._data_containers = data_containers
        self._engine = data_containers.engine
        self._sandboxes = sandboxes
        self._remover = remover
        self._settings = settings
        self._seccomp_profile = seccomp_profile
        self._launchers = launchers

    def start(self, key: RunKey) -> RunContainer:
        """Start a container, as `start_in()` does; open the avatar's folder first."""
        with self._sandboxes.opened_folder(key.kata_id, key.avatar) as folder:
            return self.start_in(folder, key)

    def start_in(self, folder: AvatarFolder, key: RunKey) -> RunContainer:
        """Start a container that waits in the sandbox in `folder`.

        Raises EngineUnavailable at once if the newest health check failed; also what
        RunContainer.start() and Sandboxes.require_same() raise.
        """
        self._engine.require_answers()
        container = RunContainer(
            self._data_containers,
            self._remover,
            self._settings,
            key,
            seccomp_profile=self._seccomp_profile,
            launchers=self._launchers,
        )
        try:
            with self._sandboxes.attributing_failures(key.kata_id, key.avatar, folder):
                container.start(folder)
        except BaseException:
            container.close()
            raise
        return container

    def knows_handle(self, kata_id: str) -> bool:
        """Say whether the kata's handle is there, as far as is known without the engine."""
        return self._data_containers.knows_handle(kata_id)

    def keep_handle(self, kata_id: str) -> None:
        """Create the kata's handle if somebody pruned it, as starting a container would."""
        try:
            with locks.locked(self._data_containers.folder(kata_id), shared=True):
                self._data_containers.ensure_handle(kata_id)
        except FileNotFoundError:
            return  # the kata was deleted
        except DojoError as error:
            _log.info("handle not created", kata=kata_id, reason=str(error))

    def image_id(self, image_name: str) -> str | None:
        """Return the id of the image of this name; None if it is not on the engine's machine."""
        return self._engine.image_id(image_names.tagged(image_name))
