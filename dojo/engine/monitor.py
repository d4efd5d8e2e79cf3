"""Following the engine's events: whether it is up, and what changed behind our back."""

import threading
from collections.abc import Callable

import docker.errors
import structlog

from dojo.engine.client import Engine, translating_errors
from dojo.engine.data_containers import DataContainers
from dojo.errors import EngineUnavailable

# What makes a name stand for another image, or for none.
_IMAGE_EVENTS = ("tag", "untag", "delete", "import", "load", "pull")

_log = structlog.get_logger()


class EngineMonitor:
    """Follows the engine's events: says whether it is up, and what changed behind our back.

    Which handles were removed, it tells the data-containers; that a name may stand for another
    image, whoever gave `on_images_changed`. One thread follows, another asks again and again
    whether the engine still answers: one that hangs is merely quiet. `is_up` may be read by any
    thread.
    """

    RETRY_SECONDS = 0.5
    PING_SECONDS = 5

    def __init__(
        self,
        data_containers: DataContainers,
        on_images_changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._data_containers = data_containers
        self._on_images_changed = on_images_changed
        self._is_followed = False
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, name="handle-watch", daemon=True),
            threading.Thread(target=self._ping, name="engine-ping", daemon=True),
        ]

    @property
    def is_up(self) -> bool:
        """Whether the engine answers."""
        return self._is_followed and self._data_containers.engine.answers

    def start(self) -> None:
        """Start following."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop following. The threads end with their connections or with the process."""
        self._stopped.set()

    def _ping(self) -> None:
        engine: Engine | None = None
        while not self._stopped.wait(self.RETRY_SECONDS):
            try:
                if engine is None:
                    url = self._data_containers.engine.url
                    engine = Engine(url, answer_seconds=self.PING_SECONDS)
                engine.ping()
            except (EngineUnavailable, docker.errors.APIError):
                self._data_containers.engine.answers = False
            else:
                self._data_containers.engine.answers = True

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._follow()
            except (EngineUnavailable, docker.errors.APIError) as error:
                if self._is_followed:
                    _log.warning("engine lost", reason=str(error))
            self._is_followed = False
            self._forget_all()
            self._stopped.wait(self.RETRY_SECONDS)

    def _follow(self) -> None:
        """Follow the events until the engine goes away."""
        engine = Engine(self._data_containers.engine.url)
        filters = {"type": ["container", "image"], "event": ["destroy", *_IMAGE_EVENTS]}
        try:
            with translating_errors():
                events = engine.api.events(decode=True, filters=filters)
                # What happened between the last connection and this one was not told.
                self._forget_all()
                self._is_followed = True
                _log.info("engine found", engine=engine.url)
                for event in events:
                    if event["Type"] == "container":
                        self._data_containers.forget_handle(event["Actor"]["Attributes"]["name"])
                    else:
                        self._on_images_changed()
        finally:
            engine.close()

    def _forget_all(self) -> None:
        self._data_containers.forget_handles()
        self._on_images_changed()
