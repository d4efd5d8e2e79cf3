"""Removes the runner's containers, also those that an earlier runner or a failed attempt left."""

import re
import threading

import docker.errors
import structlog

from dojo.engine.client import Engine, translating_errors
from dojo.errors import EngineUnavailable
from dojo.naming import Namespace
from runner.engine.presence import Presence

_log = structlog.get_logger()

# The kinds, as labels, of the runner's containers: those of runs, and those in which Ruby lambdas
# are evaluated or from which they are read.
RUN_KIND = "run"
LAMBDA_KIND = "lambda"

# Which runner a container belongs to.
RUNNER_LABEL = "cyber-dojo.runner"
_RUNNER = re.compile("[0-9a-f]{16}")


class ContainerRemover:
    """Removes containers, and remembers those that it could not remove. Any thread may use it."""

    def __init__(self, engine: Engine, namespace: Namespace, presence: Presence) -> None:
        self._engine = engine
        self._namespace = namespace
        self._presence = presence
        self._failed: set[str] = set()
        self._lock = threading.Lock()

    def labels(self, kind: str, **more: str) -> dict[str, str]:
        """Return the labels of a container of this runner."""
        return {**self._namespace.labels(kind, **more), RUNNER_LABEL: self._presence.runner}

    def remove(self, name: str) -> None:
        """Remove a container, if there is one. On a failure, `retry_failed()` tries again."""
        try:
            with translating_errors():
                # v: removes the anonymous volumes of the container's image too. The kata's volume
                # has a name, and stays.
                self._engine.api.remove_container(name, force=True, v=True)
        except docker.errors.NotFound:
            pass
        except (EngineUnavailable, docker.errors.APIError) as error:
            if getattr(error, "status_code", None) == 409:
                return  # the engine is removing it already
            _log.warning("container not removed", container=name, reason=str(error))
            with self._lock:
                self._failed.add(name)

    def retry_failed(self) -> None:
        """Try again to remove the containers that could not be removed, if the engine answers."""
        if not self._engine.answers:
            return
        with self._lock:
            names, self._failed = self._failed, set()
        for name in names:
            self.remove(name)

    def remove_orphans(self) -> None:
        """Remove what dead runners of the namespace left, and nothing of one that is alive."""
        for kind in (RUN_KIND, LAMBDA_KIND):
            labels = [f"{key}={value}" for key, value in self._namespace.labels(kind).items()]
            with translating_errors():
                found = self._engine.api.containers(all=True, filters={"label": labels})
            for container in found:
                # Runners of earlier versions named themselves nowhere: they count as dead.
                runner = container["Labels"].get(RUNNER_LABEL, "")
                if _RUNNER.fullmatch(runner) and self._presence.is_alive(runner):
                    _log.info("another runner is alive", runner=runner, container=container["Id"])
                    continue
                _log.info("removing an orphan of an earlier runner", container=container["Id"])
                self.remove(container["Id"])
        self._presence.forget_the_dead()
