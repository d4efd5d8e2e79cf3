"""The docker engine: one connection, and what its failures mean to us."""

import errno
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import docker.errors
import requests.exceptions
import urllib3.exceptions

from dojo.errors import DiskFull, DiskReadOnly, EngineUnavailable

# A healthy engine answers in milliseconds, a busy one in seconds. Longer than this is an
# engine that hangs, and a caller who waits for it is better told.
ANSWER_SECONDS = 20

_SOCKET = "unix://"

# How the engine calls a container that it removes; after that it knows none of the name.
_TAKEN_APART = {"removing", "dead"}


class Engine:
    """A connection to the docker engine. Any thread may use it.

    `api` is the engine's API as the docker package gives it; use it inside `translating_errors()`.
    `answers` says whether the engine answered when it was last asked just that, as whoever
    watches it does again and again.
    """

    def __init__(self, url: str, answer_seconds: int = ANSWER_SECONDS) -> None:
        """Connect to the engine at `url`; raise EngineUnavailable if it does not answer."""
        self.url = url
        self.answers = True
        with translating_errors():
            self.api = docker.APIClient(
                base_url=url,
                version="auto",  # which asks the engine
                timeout=answer_seconds,
                max_pool_size=64,
            )
        # A socket has no proxy; to look for one in the environment takes as long as all the rest
        # that is done here for a call.
        self.api.trust_env = not url.startswith(_SOCKET)

    def volume_root(self) -> Path:
        """Ask the engine for the folder that its volumes are in, on the engine's machine."""
        with translating_errors():
            return Path(self.api.info()["DockerRootDir"]) / "volumes"

    def ping(self) -> None:
        """Raise EngineUnavailable if it does not answer."""
        with translating_errors():
            self.api.ping()

    def listens(self) -> bool:
        """Say whether it takes new connections.

        One that is being stopped does not, and still answers what it was asked before: with
        errors of any kind, as what it needs goes under it.
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
        """Raise EngineUnavailable, without asking it, if it did not answer lately."""
        if not self.answers:
            raise EngineUnavailable("it has not answered for some seconds")

    def runtimes(self) -> set[str]:
        """Return the names of the runtimes that it can run containers with."""
        with translating_errors():
            return set(self.api.info()["Runtimes"])

    def image_id(self, name: str) -> str | None:
        """Return the id of the image of this name; None if there is none on its machine."""
        with translating_errors():
            try:
                return str(self.api.inspect_image(name)["Id"])
            except docker.errors.ImageNotFound:
                return None

    def has_image(self, name: str) -> bool:
        """Say whether an image of this name is on the engine's machine."""
        return self.image_id(name) is not None

    def container_state(self, container: str) -> Mapping[str, Any] | None:
        """Return how a container is; None if it was removed, or just is being removed."""
        with translating_errors():
            try:
                state: Mapping[str, Any] = self.api.inspect_container(container)["State"]
            except docker.errors.NotFound:
                return None
        return None if state["Status"] in _TAKEN_APART else state

    def close(self) -> None:
        """Close the connection."""
        self.api.close()


@contextmanager
def translating_errors() -> Iterator[None]:
    """Turn an engine that does not answer, or has no room left, into a DojoError.

    Any other refusal of the engine stays a docker.errors.APIError.
    """
    try:
        yield
    except docker.errors.APIError as error:
        explanation = str(error.explanation or error)
        if "no space left on device" in explanation:
            raise DiskFull(explanation) from error
        if "read-only file system" in explanation:
            raise DiskReadOnly(explanation) from error
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
