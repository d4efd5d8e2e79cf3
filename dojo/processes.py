"""Processes of a service's own, for long work that would hold Python's lock.

A process has a lower priority than the service: what is short comes first. It ends when its call
does, when it takes too much memory, and with the service. It is kept for the next work for a few
seconds, as its start takes longer than most work.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from socket import socketpair
from typing import ParamSpec, TypeVar

import structlog

from dojo import limits, process_main, waits
from dojo.errors import ProcessesExhausted, ProcessLost, ProcessTooLarge
from dojo.process_main import Failure

P = ParamSpec("P")
T = TypeVar("T")

_log = structlog.get_logger()

# Not `-m`: what is pickled names its module, which would not be `__main__` here.
_MAIN = f"from {process_main.__name__} import main; main()"

# How often the memory of a process is looked at, and whether its call has ended.
_WATCH_SECONDS = 0.05
_PAGE_BYTES = resource.getpagesize()

# How long a process is kept without work, and how much memory it may have then.
_IDLE_SECONDS = 3.0
_IDLE_BYTES = 128 * 1024 * 1024

# Somebody sends these: the kernel, where the container's memory is used up, or a person. All other
# signals are crashes.
KILLS = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


class Process:
    """A process that calls functions. Belongs to one thread at a time."""

    def __init__(self) -> None:
        ours, theirs = socketpair()
        self._connection = Connection(ours.detach())
        # In memory: no folder is left over, and nobody has to feed a pipe.
        self._file = os.memfd_create("work")
        numbers = (os.getpid(), limits.PROCESS_BYTES, theirs.fileno(), self._file)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - it is this program
                [sys.executable, "-c", _MAIN, *map(str, numbers)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=numbers[2:],
            )

    def call(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a function of a module returns, or raise what it raises, in the process.

        What the function writes into `process_main.file()` can be read afterwards. Arguments,
        results and errors are pickled. Raises CallEnded; ProcessTooLarge if it takes too much
        memory, and ProcessLost if somebody kills it.
        """
        self.clear()
        return self._call(work, *args, **kwargs)

    def call_with(
        self, given: Iterable[bytes], work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do as `call` does, for a function that finds bytes by `process_main.given`."""
        self.clear()
        at = 0
        for content in given:
            rest = memoryview(content)
            while rest:
                written = os.pwrite(self._file, rest, at)
                rest, at = rest[written:], at + written
        return self._call(work, *args, **kwargs)

    def _call(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            self._connection.send((work, args, kwargs))
            while not self._connection.poll(_WATCH_SECONDS):
                waits.check()
                if self.held_bytes > limits.PROCESS_BYTES:
                    raise ProcessTooLarge(limits.PROCESS_BYTES)
            answer = self._connection.recv()
        except (EOFError, ConnectionError):
            raise _error_of(self._process.wait()) from None
        except BaseException:
            self.end()
            raise
        if isinstance(answer, Failure):
            raise answer.error()
        result: T = answer
        return result

    def written(self) -> bytes:
        """Return what the last work wrote into the file, without Python's lock."""
        return os.pread(self._file, os.fstat(self._file).st_size, 0)

    def clear(self) -> None:
        """Free the memory of the file."""
        os.ftruncate(self._file, 0)

    def pieces(self) -> Iterator[bytes]:
        """Yield what the last work left by `process_main.leave`, in pieces."""
        while self.call(process_main.write_next):
            yield self.written()

    @property
    def held_bytes(self) -> int:
        """How much memory of its own the process has; 0 if it has ended."""
        return held_bytes(self._process.pid)

    def is_alive(self) -> bool:
        """Say whether the process has not ended."""
        return self._process.poll() is None

    def end(self) -> None:
        """Kill the process, and wait for its end."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the process, and free everything that it had."""
        self.end()
        self._connection.close()
        os.close(self._file)


class Processes:
    """As many processes as may work at the same time. Any thread may use them."""

    def __init__(self, most: int, work: str) -> None:
        """Let `most` processes work; `work` says for people what they do."""
        self._work = work
        self._permits = threading.BoundedSemaphore(most)
        # Guards the idle processes, and the timer that ends them.
        self._lock = threading.Lock()
        self._idle: list[Process] = []
        self._timer: threading.Timer | None = None

    @contextmanager
    def one(self, wait_seconds: float | None = None) -> Iterator[Process]:
        """Give a process, and wait for it if all work.

        A call waits for `wait_seconds`, if they are given, or as long as for a lock. The thread
        gives up its place among those that work. Raises CallEnded, or ProcessesExhausted after too
        long a wait.
        """
        with waits.one_of(self._permits, ProcessesExhausted(self._work), wait_seconds):
            process = self._taken()
            try:
                yield process
            finally:
                self._give_back(process)

    def call(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do as `Process.call` does, in a process of these."""
        with self.one() as process:
            return process.call(work, *args, **kwargs)

    def stop(self) -> None:
        """End the processes that have no work."""
        with self._lock:
            idle, self._idle = self._idle, []
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        for process in idle:
            process.close()

    def _taken(self) -> Process:
        with self._lock:
            process = self._idle.pop() if self._idle else None
        if process is not None and process.is_alive():
            return process
        if process is not None:
            process.close()
        return Process()

    def _give_back(self, process: Process) -> None:
        if not process.is_alive() or process.held_bytes > _IDLE_BYTES:
            process.close()
            return
        process.clear()
        with self._lock:
            self._idle.append(process)
            if self._timer is not None:
                self._timer.cancel()
            self._timer = threading.Timer(_IDLE_SECONDS, self.stop)
            self._timer.daemon = True
            self._timer.start()


def held_bytes(pid: int) -> int:
    """Return how much memory of its own a process has; 0 if it has ended.

    The pages of files that it reads are not among it: the kernel drops them as it likes.
    """
    try:
        resident, shared = Path(f"/proc/{pid}/statm").read_text().split()[1:3]  # proc(5)
        return (int(resident) - int(shared)) * _PAGE_BYTES
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _error_of(status: int) -> Exception:
    """Return the error for a process that ended with this status before it answered."""
    if -status in KILLS:
        _log.warning("process killed", signal=signal.Signals(-status).name)
        return ProcessLost()
    how = signal.Signals(-status).name if status < 0 else f"status {status}"
    return RuntimeError(f"a process failed: {how}")
