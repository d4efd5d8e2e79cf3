"""A container in which Ruby evaluates lambdas, one after the other.

Only this module knows how the container is created, and the protocol of its server,
images/ruby_lambdas/server.rb. The protocol uses the container's standard input and output. The
connection to the engine ends with the runner, which ends the container's input, and with that the
container: so a killed runner leaves none running.
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

from dojo.engine.client import ANSWER_SECONDS, Engine, translating_errors
from dojo.errors import ImageMissing
from dojo.naming import Namespace
from runner.engine.container_remover import LAMBDA_KIND, ContainerRemover
from runner.settings import MIB, RunnerSettings

_log = structlog.get_logger()

# The server gives a lambda three seconds. After this long it will not answer any more.
_EVALUATION_SECONDS = 10
_MEMORY_BYTES = 128 * MIB
# The server, the process that it forks for a lambda, and room for what Ruby itself may start.
_MAX_PROCESSES = 8
_NOBODY = "65534:65534"
# The header that the engine puts before each piece of output: the stream's number, and the size.
_PIECE = struct.Struct(">BxxxL")
_STDERR = 2
_REQUEST = struct.Struct(">4L")
_ANSWER = struct.Struct(">2L")
_MAX_TEXT_BYTES = 4096


class AnswerKind(IntEnum):
    """What an answer of the server means."""

    READY = 0
    COLOUR = 1
    FAULTY = 2


@dataclass(frozen=True)
class Answer:
    """The server's answer: a colour, or why the lambda gave none."""

    kind: AnswerKind
    text: str


class ContainerLost(Exception):
    """The container ended, was removed or does not answer."""


class RubyContainer:
    """A container that waits for lambdas. Belongs to one thread at a time.

    Call `start()` once, then `evaluate()` until it raises, and `close()` in any case.
    """

    def __init__(
        self,
        engine: Engine,
        namespace: Namespace,
        remover: ContainerRemover,
        settings: RunnerSettings,
        seccomp_profile: str,
    ) -> None:
        self._engine = engine
        self._api = engine.api
        self._namespace = namespace
        self._remover = remover
        self._settings = settings
        self._seccomp_profile = seccomp_profile
        self._name = f"{namespace.name}-{LAMBDA_KIND}-{secrets.token_hex(4)}"
        self._attached: Any = None
        self._connection: Any = None
        self._received = bytearray()

    def start(self) -> None:
        """Create the container, start it, and wait until it is ready.

        Raises ImageMissing, EngineUnavailable or ContainerLost.
        """
        self._engine.require_answers()
        with translating_errors():
            try:
                self._api.create_container_from_config(self._config(), self._name)
                wanted = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
                self._attached = self._api.attach_socket(self._name, params=wanted)
                self._api.start(self._name)
            except docker.errors.ImageNotFound:
                raise ImageMissing(self._settings.ruby_image) from None
            except docker.errors.APIError as error:
                # The engine has many answers for a container that is removed while it starts.
                is_gone = isinstance(error, docker.errors.NotFound) or self._state() is None
                if is_gone:
                    raise ContainerLost("it was removed") from None
                raise
        self._connection = self._attached._sock  # noqa: SLF001
        self._answer(ANSWER_SECONDS)

    def is_ready(self) -> bool:
        """Say whether the container waits for a lambda, as far as the connection shows."""
        if self._connection is None:
            return False
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        return not poll.poll(0)

    def evaluate(self, source: bytes, stdout: bytes, stderr: bytes, status: int) -> Answer:
        """Have the server apply a lambda to a run's output; raise ContainerLost."""
        header = _REQUEST.pack(len(source), len(stdout), len(stderr), status)
        self._connection.settimeout(_EVALUATION_SECONDS)
        try:
            self._connection.sendall(header + source + stdout + stderr)
        except OSError as error:
            raise ContainerLost(str(error)) from error
        return self._answer(_EVALUATION_SECONDS)

    def ended_by_itself(self) -> bool:
        """Say whether a lost container ended, rather than being removed.

        Raises EngineUnavailable.
        """
        state = self._state()
        return state is not None and not state["Running"]

    def close(self) -> None:
        """Remove the container. If the engine fails, the remover tries again later."""
        attached, self._attached, self._connection = self._attached, None, None
        if attached is not None:
            with contextlib.suppress(OSError):  # the connection broke
                # The docker package has no public way to either of these.
                attached._sock.shutdown(socket.SHUT_RDWR)  # noqa: SLF001
            # The HTTP response owns the connection: closing the socket alone would leak it.
            attached._response.close()  # noqa: SLF001
        self._remover.remove(self._name)

    def _state(self) -> Mapping[str, Any] | None:
        return self._engine.container_state(self._name)

    def _answer(self, seconds: float) -> Answer:
        deadline = time.monotonic() + seconds
        kind, size_bytes = _ANSWER.unpack(self._take(_ANSWER.size, deadline))
        if kind not in set(AnswerKind) or size_bytes > _MAX_TEXT_BYTES:
            raise ContainerLost("its answer breaks the protocol")
        return Answer(AnswerKind(kind), self._take(size_bytes, deadline).decode(errors="replace"))

    def _take(self, size_bytes: int, deadline: float) -> bytes:
        """Return the next bytes of the server's standard output."""
        while len(self._received) < size_bytes:
            stream, piece_bytes = _PIECE.unpack(self._receive(_PIECE.size, deadline))
            piece = self._receive(piece_bytes, deadline)
            if stream == _STDERR:
                _log.error("ruby wrote an error", text=piece.decode(errors="replace"))
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
            # The container's first process ignores all other signals, and an engine that is
            # stopped would wait for it.
            "StopSignal": "SIGKILL",
            "NetworkDisabled": True,
            "Labels": self._remover.labels(LAMBDA_KIND),
            "HostConfig": {
                "NetworkMode": "none",
                "IpcMode": "none",  # leaves out /dev/shm
                "Runtime": self._settings.runtime,
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges", f"seccomp={self._seccomp_profile}"],
                "ReadonlyRootfs": True,
                "Memory": _MEMORY_BYTES,
                "MemorySwap": _MEMORY_BYTES,  # memory and swap together
                "PidsLimit": _MAX_PROCESSES,
                "OomScoreAdj": 500,  # if the host runs out of memory, this goes before services
                "Ulimits": [
                    {"Name": "core", "Soft": 0, "Hard": 0},
                    {"Name": "msgqueue", "Soft": 0, "Hard": 0},
                ],
                "LogConfig": {"Type": "none", "Config": {}},
            },
        }
