"""One container in which a Ruby evaluates lambdas, one after the other.

The only module that knows this container, and how images/ruby_lambdas/server.rb is spoken to:
through the container's own standard input and output, attached. Its input ends with the
connection, so that it ends too when the runner is killed.
"""

import contextlib
import secrets
import select
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import docker.errors
import structlog

from dojo.engine.client import ANSWER_SECONDS, translating_errors
from dojo.engine.data_containers import DataContainers
from dojo.errors import ImageMissing
from runner.engine import seccomp
from runner.engine.container_remover import ContainerRemover
from runner.settings import MIB, RunnerSettings

_log = structlog.get_logger()

KIND = "lambda"

# The server gives a lambda three seconds. What is not answered after so long never will be.
_EVALUATION_SECONDS = 10
_MEMORY_BYTES = 128 * MIB
# The server, one that it forked, and room for what Ruby may start.
_MAX_PROCESSES = 8
_NOBODY = "65534:65534"
# What the engine puts before each piece of a stream: which one, and how many bytes.
_PIECE = struct.Struct(">BxxxL")
_STDERR = 2
_REQUEST = struct.Struct(">4L")
_ANSWER = struct.Struct(">2L")
_MAX_TEXT_BYTES = 4096


class Kind(IntEnum):
    """What an answer of the server's is."""

    READY = 0
    COLOUR = 1
    FAULTY = 2


@dataclass(frozen=True)
class Answer:
    """What the server answered: a colour, or why there is none."""

    kind: Kind
    text: str


class ContainerLost(Exception):
    """The container ended, was removed, or does not answer."""


class RubyContainer:
    """A container that waits for lambdas. Belongs to one thread at a time.

    `start()` once, then `evaluate()` as often as it goes well; `close()` in any case.
    """

    def __init__(
        self, data_containers: DataContainers, leftovers: ContainerRemover, settings: RunnerSettings
    ) -> None:
        self._data_containers = data_containers
        self._api = data_containers.engine.api
        self._leftovers = leftovers
        self._settings = settings
        self._name = f"{data_containers.namespace.name}-{KIND}-{secrets.token_hex(4)}"
        self._attached: Any = None
        self._connection: Any = None
        self._received = bytearray()

    def start(self) -> None:
        """Make the container, start it, and wait until it is ready.

        Raises ImageMissing, EngineUnavailable or ContainerLost.
        """
        self._data_containers.engine.require_answers()
        with translating_errors():
            try:
                self._api.create_container_from_config(self._config(), self._name)
                wanted = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
                self._attached = self._api.attach_socket(self._name, params=wanted)
                self._api.start(self._name)
            except docker.errors.ImageNotFound:
                raise ImageMissing(self._settings.ruby_image) from None
            except docker.errors.APIError as error:
                # One that goes while it is started is refused in many ways.
                is_gone = isinstance(error, docker.errors.NotFound) or self._state() is None
                if is_gone:
                    raise ContainerLost("it was removed") from None
                raise
        self._connection = self._attached._sock  # noqa: SLF001
        self._answer(ANSWER_SECONDS)

    def is_ready(self) -> bool:
        """Say whether it waits for the next lambda, as far as can be seen from here."""
        if self._connection is None:
            return False
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        return not poll.poll(0)

    def evaluate(self, source: bytes, stdout: bytes, stderr: bytes, status: int) -> Answer:
        """Return what the server makes of a lambda and a run's output; raise ContainerLost."""
        header = _REQUEST.pack(len(source), len(stdout), len(stderr), status)
        self._connection.settimeout(_EVALUATION_SECONDS)
        try:
            self._connection.sendall(header + source + stdout + stderr)
        except OSError as error:
            raise ContainerLost(str(error)) from error
        return self._answer(_EVALUATION_SECONDS)

    def ended_by_itself(self) -> bool:
        """Say whether a lost container ended, and was not removed by somebody.

        Raises EngineUnavailable.
        """
        state = self._state()
        return state is not None and not state["Running"]

    def close(self) -> None:
        """Remove the container. If the engine fails to, it is tried again later."""
        attached, self._attached, self._connection = self._attached, None, None
        if attached is not None:
            with contextlib.suppress(OSError):  # of a connection that broke
                attached._sock.shutdown(socket.SHUT_RDWR)  # noqa: SLF001 - as the package has it
            # The response that was upgraded owns the connection, and closes all of it.
            attached._response.close()  # noqa: SLF001
        self._leftovers.remove(self._name)

    def _state(self) -> Mapping[str, Any] | None:
        return self._data_containers.engine.container_state(self._name)

    def _answer(self, seconds: float) -> Answer:
        deadline = time.monotonic() + seconds
        kind, size_bytes = _ANSWER.unpack(self._take(_ANSWER.size, deadline))
        if kind not in set(Kind) or size_bytes > _MAX_TEXT_BYTES:
            raise ContainerLost("its answer is none")
        return Answer(Kind(kind), self._take(size_bytes, deadline).decode(errors="replace"))

    def _take(self, size_bytes: int, deadline: float) -> bytes:
        """Return the next bytes of the server's standard output."""
        while len(self._received) < size_bytes:
            stream, piece_bytes = _PIECE.unpack(self._receive(_PIECE.size, deadline))
            piece = self._receive(piece_bytes, deadline)
            if stream == _STDERR:
                _log.error("ruby", said=piece.decode(errors="replace"))
            else:
                self._received += piece
        taken = bytes(self._received[:size_bytes])
        del self._received[:size_bytes]
        return taken

    def _receive(self, size_bytes: int, deadline: float) -> bytes:
        received = b""
        while len(received) < size_bytes:
            self._connection.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                piece = self._connection.recv(size_bytes - len(received))
            except OSError as error:
                raise ContainerLost(str(error)) from error
            if not piece:
                raise ContainerLost("it ended")
            received += piece
        return received

    def _config(self) -> dict[str, Any]:
        return {
            "Image": self._settings.ruby_image,
            "User": _NOBODY,
            "AttachStdin": True,
            "AttachStdout": True,
            "AttachStderr": True,
            "OpenStdin": True,
            "StdinOnce": True,
            # Its first process hears nothing else, and an engine that is stopped would wait for it.
            "StopSignal": "SIGKILL",
            "NetworkDisabled": True,
            "Labels": self._data_containers.namespace.labels(KIND),
            "HostConfig": {
                "NetworkMode": "none",
                "IpcMode": "none",  # and no /dev/shm
                "Runtime": self._settings.runtime,
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges", f"seccomp={seccomp.profile()}"],
                "ReadonlyRootfs": True,
                "Memory": _MEMORY_BYTES,
                "MemorySwap": _MEMORY_BYTES,  # memory and swap together
                "PidsLimit": _MAX_PROCESSES,
                "OomScoreAdj": 500,  # when the host itself has no memory left
                "Ulimits": [
                    {"Name": "core", "Soft": 0, "Hard": 0},
                    {"Name": "msgqueue", "Soft": 0, "Hard": 0},
                ],
                "LogConfig": {"Type": "none", "Config": {}},
            },
        }
