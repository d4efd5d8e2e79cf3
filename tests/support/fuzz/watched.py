"""Services under watch: what no input may make them do."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from cyberdojo.storer.v1 import storer_pb2_grpc
from support.services import Service, wait_until
from support.storer.storing import Katas, kibibytes

# What a call may take on a busy machine. No input that a service accepts needs more.
CALL_SECONDS = 60
# What a call may take that waits for the caller, or for something to watch.
OPEN_SECONDS = 0.5
# How long a service may go on with a call whose deadline has passed.
LATE_SECONDS = 2

# How long what is left of calls may take to end, on a busy machine.
REST_SECONDS = 20

# The time over which work is measured, and how often it is looked at.
_WORK_SECONDS = 0.5
_SAMPLES = 10

# Three quarters of the memory that docker-compose.yml gives each service.
MAX_KIBIBYTES = 2 * 1024**2 * 3 // 4
# Descriptors that come and go: the docker package keeps up to 25 connections to the engine, libgit2
# the packs that it read last; and files of background work.
_FEW_DESCRIPTORS = 64
# Two pools of threads (dojo.service.serving.THREADS, storer.api.streaming.RECEIVER_THREADS), and
# those of the engine's client, of gRPC and of background work.
MAX_THREADS = 64 + 64 + 48

_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]

_NEVER = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNIMPLEMENTED}

Answer = tuple[grpc.StatusCode, list[Any]]


@dataclass
class Watched:
    """A service under watch, and a channel to it."""

    service: Service
    channel: grpc.Channel

    def __post_init__(self) -> None:
        self._descriptors = self._count("fd")
        self._defects = 0

    def call(
        self, method: MethodDescriptor, messages: Sequence[bytes], *, is_open: bool = False
    ) -> Answer:
        """Call an RPC with serialized requests; return its status, and its answers until then.

        `is_open` says that the requests end only with the call's deadline.
        """
        done: list[float] = []

        def sent() -> Iterator[bytes]:
            yield from messages
            if is_open:
                wait_until(lambda: done, CALL_SECONDS)

        may_wait = is_open or method.name in {"WatchKata", "WatchKatas"}
        seconds = OPEN_SECONDS if may_wait else CALL_SECONDS
        answer_class = GetMessageClass(method.output_type)
        kind = f"{'stream' if method.client_streaming else 'unary'}_"
        kind += "stream" if method.server_streaming else "unary"
        path = f"/{method.containing_service.full_name}/{method.name}"
        call = getattr(self.channel, kind)(path, None, answer_class.FromString)
        request = sent() if method.client_streaming else messages[0]
        began = time.monotonic()
        answers: list[Any] = []
        code, details = grpc.StatusCode.OK, ""
        try:
            found = call(request, timeout=seconds)
            if method.server_streaming:
                answers.extend(found)
            else:
                answers.append(found)
        except grpc.RpcError as error:
            code, details = error.code(), error.details() or ""
        finally:
            done.append(time.monotonic())
        took = done[0] - began
        assert took < seconds + LATE_SECONDS, f"{method.name} took {took:.1f} s"
        assert code not in _NEVER, f"{method.name}: {code.name}: {details}"
        hangs = code is grpc.StatusCode.DEADLINE_EXCEEDED and not may_wait
        assert not hangs, f"{method.name} did not answer within {seconds} s"
        return code, answers

    def check(self) -> None:
        """Assert that nothing since the last check was a defect or took too much memory."""
        assert self.service.is_running, f"{self.service.module} has ended"
        defects = [each["exception"] for each in self.service.events() if each["event"] == "defect"]
        new, self._defects = defects[self._defects :], len(defects)
        assert not new, f"{self.service.module} logged defects:\n" + "\n".join(new)
        peak = kibibytes(self.service.pid, "VmHWM")
        Path(f"/proc/{self.service.pid}/clear_refs").write_text("5")  # restarts VmHWM
        assert peak < MAX_KIBIBYTES, f"{self.service.module} took {peak // 1024} MiB of memory"

    def check_at_rest(self) -> None:
        """Assert that nothing stays of the calls: no work, no descriptor, no thread."""
        wait_until(self._is_idle, REST_SECONDS)
        try:
            wait_until(
                lambda: self._count("fd") <= self._descriptors + _FEW_DESCRIPTORS, REST_SECONDS
            )
            wait_until(lambda: self._count("task") <= MAX_THREADS, REST_SECONDS)
        except AssertionError as error:
            error.add_note(f"{self._count('task')} threads, and {self._open_files()}")
            raise

    def _open_files(self) -> list[str]:
        folder = Path(f"/proc/{self.service.pid}/fd")
        return sorted(str(path.readlink()) for path in folder.iterdir())

    def _count(self, folder: str) -> int:
        return len(os.listdir(f"/proc/{self.service.pid}/{folder}"))

    def _is_idle(self) -> bool:
        """Whether the service rested just now, and used less than a third of a core."""
        before = self._cpu_seconds()
        rested = False
        for _ in range(_SAMPLES):
            time.sleep(_WORK_SECONDS / _SAMPLES)
            rested = rested or not self._wants_to_run()
        return rested and self._cpu_seconds() - before < _WORK_SECONDS / 3

    def _wants_to_run(self) -> bool:
        """Whether a thread runs, or waits for a processor, as on a busy machine."""
        states = []
        for task in Path(f"/proc/{self.service.pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):  # it ended
                states.append((task / "stat").read_text().rpartition(")")[2].split()[0])
        return "R" in states

    def _cpu_seconds(self) -> float:
        stat = Path(f"/proc/{self.service.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def watched(service: Service) -> Iterator[Watched]:
    """Watch a service that has just started, with a channel for messages of any size."""
    with grpc.insecure_channel(service.address, _OPTIONS) as channel:
        yield Watched(service, channel)


@dataclass
class World:
    """The services, each under watch, the katas behind the storer, and the folder of each kata."""

    storer: Watched
    runner: Watched
    folder: Callable[[str], Path]

    @property
    def katas(self) -> Katas:
        """The katas behind the storer; each call has a deadline."""
        channel = grpc.intercept_channel(self.storer.channel, _Deadline())
        return Katas(storer_pb2_grpc.StorerServiceStub(channel))


class _Details(NamedTuple):
    """The details of a call, in the form that gRPC has for them."""

    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


class _Deadline(
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[type-arg]  # not generic when it runs
    grpc.UnaryStreamClientInterceptor,  # type: ignore[type-arg]  # not generic when it runs
    grpc.StreamUnaryClientInterceptor,  # type: ignore[type-arg]  # not generic when it runs
    grpc.StreamStreamClientInterceptor,  # type: ignore[type-arg]  # not generic when it runs
):
    """Gives each call a deadline, as it would else wait for a service that hangs."""

    def _intercept(self, call: Any, details: Any, request: Any) -> Any:
        return call(_Details(*details)._replace(timeout=details.timeout or CALL_SECONDS), request)

    intercept_unary_unary: Any = _intercept
    intercept_unary_stream: Any = _intercept
    intercept_stream_unary: Any = _intercept
    intercept_stream_stream: Any = _intercept
