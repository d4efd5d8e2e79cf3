"""Containers of a runner that could not be removed when they should have been."""

import threading

import docker.errors
import structlog

from dojo.engine.client import translating_errors
from dojo.engine.data_containers import DataContainers
from dojo.errors import EngineUnavailable

_log = structlog.get_logger()

# Those of runs, and those that Ruby lambdas are evaluated in or read from.
_KINDS = ("run", "lambda")


class ContainerRemover:
    """Removes the containers of a runner, and remembers those for which the engine was not there.

    Any thread may use it.
    """

    def __init__(self, data_containers: DataContainers) -> None:
        self._engine = data_containers.engine
        self._api = data_containers.engine.api
        self._namespace = data_containers.namespace
        self._names: set[str] = set()
        self._lock = threading.Lock()

    def remove(self, name: str) -> None:
        """Remove the container of this name, if there is one, now or when there is an engine."""
        try:
            with translating_errors():
                # The volumes that an image makes for itself go too; the kata's has a name,
                # and stays.
                self._api.remove_container(name, force=True, v=True)
        except docker.errors.NotFound:
            pass
        except (EngineUnavailable, docker.errors.APIError) as error:
            if getattr(error, "status_code", None) == 409:
                return  # the engine is at it already
            _log.warning("container left over", container=name, reason=str(error))
            with self._lock:
                self._names.add(name)

    def sweep(self) -> None:
        """Try again to remove those that could not be removed, unless the engine is away still."""
        if not self._engine.answers:
            return
        with self._lock:
            names, self._names = self._names, set()
        for name in names:
            self.remove(name)

    def sweep_all(self) -> None:
        """Remove every container of a runner in the namespace: those of one that was killed."""
        found: list[dict[str, str]] = []
        for kind in _KINDS:
            wanted = [f"{key}={value}" for key, value in self._namespace.labels(kind).items()]
            with translating_errors():
                found += self._api.containers(all=True, quiet=True, filters={"label": wanted})
        for container in found:
            _log.info("removing what an earlier runner left", container=container["Id"])
            self.remove(container["Id"])
