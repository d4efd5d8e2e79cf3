"""Starts the containers of runs."""

from dojo import image_names
from dojo.engine.data_containers import DataContainers
from runner.engine.container_remover import ContainerRemover
from runner.run.container import RunContainer, RunKey
from runner.sandbox.sandbox import AvatarFolder
from runner.sandbox.sandboxes import Sandboxes
from runner.settings import RunnerSettings


class ContainerStarter:
    """Starts containers that wait for their run. Any thread may use it."""

    def __init__(
        self,
        data_containers: DataContainers,
        sandboxes: Sandboxes,
        remover: ContainerRemover,
        settings: RunnerSettings,
        seccomp_profile: str,
    ) -> None:
        self._data_containers = data_containers
        self._engine = data_containers.engine
        self._sandboxes = sandboxes
        self._remover = remover
        self._settings = settings
        self._seccomp_profile = seccomp_profile

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
            self._data_containers, self._remover, self._settings, self._seccomp_profile, key
        )
        try:
            with self._sandboxes.attributing_failures(key.kata_id, key.avatar, folder):
                container.start(folder)
        except BaseException:
            container.close()
            raise
        return container

    def image_id(self, image_name: str) -> str | None:
        """Return the id of the image of this name; None if it is not on the engine's machine."""
        return self._engine.image_id(image_names.tagged(image_name))
