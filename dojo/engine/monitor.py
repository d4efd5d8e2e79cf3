"""Monitors the engine: whether it answers, and which containers and images changed."""

import threading
from collections.abc import Callable

import docker.errors
import structlog

from dojo.engine.client import Engine, translating_errors
from dojo.engine.data_containers import DataContainers
from dojo.errors import EngineUnavailable

# The events after which a name may stand for another image, or for none.
_IMAGE_EVENTS = ("tag", "untag", "delete", "import", "load", "pull")

_log = structlog.get_logger()


class EngineMonitor:
    """Follows the engine's events, and checks again and again that it answers.

    Tells the data-containers which handles were removed, and calls `on_images_changed` when a
    name may stand for another image. One thread follows the events. Another sends pings, because
    an engine that hangs is silent like an engine without events. Any thread may read `is_up`.
    """

    RETRY_SECONDS = 0.5
    PING_SECONDS = 5

    def __init__(
        self,
        data_containers: DataContainers,
        on_images_changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._data_containers = data_containers
        self._engine = data_containers.engine
        self._on_images_changed = on_images_changed
        self._follows_events = False
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._follow_events, name="engine-events", daemon=True),
            threading.Thread(target=self._check_health, name="engine-ping", daemon=True),
        ]

    @property
    def is_up(self) -> bool:
        """Whether the engine answers, and its events arrive."""
        return self._follows_events and self._engine.answers

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop. The threads end with their connections or with the process."""
        self._stopped.set()

    def _check_health(self) -> None:
        connection: Engine | None = None
        while not self._stopped.wait(self.RETRY_SECONDS):
            try:
                if connection is None:
                    connection = Engine(self._engine.url, answer_seconds=self.PING_SECONDS)
                connection.ping()
            except (EngineUnavailable, docker.errors.APIError):
                self._engine.record_health(answers=False)
            else:
                self._engine.record_health(answers=True)

    def _follow_events(self) -> None:
        while not self._stopped.is_set():
            try:
                self._follow_connection()
            except (EngineUnavailable, docker.errors.APIError) as error:
                if self._follows_events:
                    _log.warning("engine lost", reason=str(error))
            self._follows_events = False
            self._invalidate_all()
            self._stopped.wait(self.RETRY_SECONDS)

    def _follow_connection(self) -> None:
        """Follow the events of one connection to its end."""
        connection = Engine(self._engine.url)
        filters = {"type": ["container", "image"], "event": ["destroy", *_IMAGE_EVENTS]}
        try:
            with translating_errors():
                events = connection.api.events(decode=True, filters=filters)
                # Events between the last connection and this one are lost.
                self._invalidate_all()
                self._follows_events = True
                _log.info("engine found", engine=connection.url)
                for event in events:
                    if event["Type"] == "container":
                        self._data_containers.forget_handle(event["Actor"]["Attributes"]["name"])
                    else:
                        self._on_images_changed()
        finally:
            connection.close()

    def _invalidate_all(self) -> None:
        self._data_containers.forget_handles()
        self._on_images_changed()
