"""The docker engine: a connection to it, and the domain's error for each of its failures."""

import errno
import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import docker.errors
import requests
import requests.exceptions
import urllib3.exceptions
from docker.transport import UnixHTTPAdapter

from dojo import free_space, metrics
from dojo.errors import DiskFull, DiskReadOnly, EngineUnavailable

# A healthy engine answers in milliseconds, a busy one in seconds. An engine that takes longer than
# this hangs, and an error serves the caller better than more waiting.
ANSWER_SECONDS = 20

_SOCKET = "unix://"

_DISK_FULL = ("no space left on device", "disk quota exceeded")

_ANY_URL = "http+docker://localhost"
# More than there are threads: a connection too many would be closed after use, with a warning.
_MAX_IDLE_CONNECTIONS = 128

# What requests are about, and what they do with it. All other parts of a request's path are names.
_OBJECTS = frozenset(
    ("_ping", "containers", "events", "exec", "images", "info", "networks", "version", "volumes")
)
_ACTIONS = frozenset(
    ("create", "get", "json", "kill", "load", "prune", "resize", "start", "stop", "tag", "wait")
)

# The states of a container that the engine is removing.
_BEING_REMOVED = {"removing", "dead"}


class Engine:
    """A connection to the docker engine. Any thread may use it.

    `api` is the docker package's low-level client; use it inside `translating_errors()`.
    `answers` is the outcome of the newest health check, which `dojo.engine.monitor` repeats.
    """

    def __init__(self, url: str, answer_seconds: int = ANSWER_SECONDS) -> None:
        """Connect to the engine at `url`; raise EngineUnavailable if it does not answer."""
        self.url = url
        self._answers = True
        with translating_errors():
            self.api = _TimedClient(
                base_url=url,
                version="auto",  # asks the engine
                timeout=answer_seconds,
            )
        if url.startswith(_SOCKET):
            self.api.get_adapter(_ANY_URL).close()
            self.api.mount("http+docker://", _OnePoolAdapter(url, answer_seconds))
        # A socket has no proxy. Searching the environment for one would double this process's
        # share of the time that a call takes.
        self.api.trust_env = not url.startswith(_SOCKET)

    @property
    def answers(self) -> bool:
        """Whether the engine answered the newest health check."""
        return self._answers

    def record_health(self, *, answers: bool) -> None:
        """Record the outcome of a health check."""
        self._answers = answers

    def volume_root(self) -> Path:
        """Ask the engine for the folder of its volumes, on the engine's machine."""
        with translating_errors():
            return Path(self.api.info()["DockerRootDir"]) / "volumes"

    def ping(self) -> None:
        """Raise EngineUnavailable if the engine does not answer."""
        with translating_errors():
            self.api.ping()

    def listens(self) -> bool:
        """Say whether the engine accepts new connections.

        An engine that is being stopped accepts none, but still answers earlier requests. Its
        answers can then be errors of any kind.
        """
        if not self.url.startswith(_SOCKET):
            return True
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_SECONDS)
            try:
                connection.connect(self.url.removeprefix(_SOCKET))
            except OSError:
                return False
        return True

    def require_answers(self) -> None:
        """Raise EngineUnavailable if the newest health check failed; does not ask the engine."""
        if not self._answers:
            raise EngineUnavailable("it has not answered for some seconds")

    def runtimes(self) -> set[str]:
        """Return the names of the engine's container runtimes."""
        with translating_errors():
            return set(self.api.info()["Runtimes"])

    def image_id(self, name: str) -> str | None:
        """Return the id of the image of this name; None if it is not on the engine's machine."""
        found = self._image(name)
        return None if found is None else str(found["Id"])

    def image_volumes(self, name: str) -> list[str]:
        """Return the paths that an image declares as volumes; [] if the image is not there."""
        config = (self._image(name) or {}).get("Config") or {}
        return sorted(config.get("Volumes") or ())

    def has_image(self, name: str) -> bool:
        """Say whether an image of this name is on the engine's machine."""
        return self.image_id(name) is not None

    def _image(self, name: str) -> Mapping[str, Any] | None:
        """Return what the engine knows of an image; None if it is not on the engine's machine."""
        with translating_errors():
            try:
                found: Mapping[str, Any] = self.api.inspect_image(name)
            except docker.errors.ImageNotFound:
                return None
        return found

    def container(self, container: str) -> Mapping[str, Any] | None:
        """Return what the engine tells of a container; None if it was or is being removed."""
        with translating_errors():
            try:
                found: Mapping[str, Any] = self.api.inspect_container(container)
            except docker.errors.NotFound:
                return None
        return None if found["State"]["Status"] in _BEING_REMOVED else found

    def container_state(self, container: str) -> Mapping[str, Any] | None:
        """Return a container's state; None if it was removed or is being removed."""
        found = self.container(container)
        return None if found is None else found["State"]

    def close(self) -> None:
        """Close the connection."""
        self.api.close()


class _TimedClient(docker.APIClient):
    """Times each request, until the answer begins."""

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send a request, as the docker package's functions do."""
        operation = operation_of(str(request.method), str(request.path_url))
        begun = time.perf_counter()
        try:
            answer: requests.Response = super().send(request, **options)
        except Exception:
            metrics.ENGINE_FAILURES.labels(operation).inc()
            raise
        metrics.ENGINE_SECONDS.labels(operation).observe(time.perf_counter() - begun)
        return answer


def operation_of(method: str, url: str) -> str:
    """Return what a request asks of the engine, without names: `POST containers start`."""
    parts = [each for each in url.partition("?")[0].split("/") if each]
    if parts and re.fullmatch(r"v[0-9.]+", parts[0]):
        del parts[0]
    found = [method]
    if parts and parts[0] in _OBJECTS:
        found.append(parts[0])
    if len(parts) > 1 and parts[-1] in _ACTIONS:
        found.append(parts[-1])
    return " ".join(found)


class _OnePoolAdapter(UnixHTTPAdapter):
    """Keeps connections for all requests together.

    The docker package keeps some for each URL, and most URLs name a container: 25 connections would
    stay open, none of them of use to another request.
    """

    def __init__(self, url: str, answer_seconds: int) -> None:
        socket_url = url.replace(_SOCKET, "http+unix://")
        super().__init__(socket_url, answer_seconds, 1, max_pool_size=_MAX_IDLE_CONNECTIONS)

    def get_connection(self, url: str | bytes, proxies: Mapping[str, str] | None = None) -> Any:
        """Return the pool of connections; it is the same for every `url`."""
        del url
        return super().get_connection(_ANY_URL, proxies)


@contextmanager
def translating_errors(disk: Path | None = None) -> Iterator[None]:
    """Raise a DojoError for an engine that does not answer, or that can't write to its disk.

    On a full disk the engine also fails with errors such as `chown ...: no such file or directory`.
    So if `disk`, a folder that the engine writes to, is given and full, its failures are DiskFull.
    Any other error that the engine answers with stays a docker.errors.APIError.
    """
    try:
        yield
    except docker.errors.APIError as error:
        explanation = str(error.explanation or error)
        if any(each in explanation for each in _DISK_FULL):
            raise DiskFull(explanation) from error
        if "read-only file system" in explanation:
            raise DiskReadOnly(explanation) from error
        if disk is not None and error.is_server_error() and free_space.is_full(disk):
            raise DiskFull(f"the engine failed on a full disk: {explanation}") from error
        raise
    except (
        docker.errors.DockerException,
        requests.exceptions.RequestException,
        urllib3.exceptions.HTTPError,
        ConnectionError,
        TimeoutError,
    ) as error:
        raise EngineUnavailable(_first_line(error)) from error
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.EACCES}:  # the socket is not there
            raise EngineUnavailable(_first_line(error)) from error
        raise


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
