"""The process in which a service has functions called: `dojo.processes` starts it, and ends it.

`main`, with the arguments PARENT MAX_BYTES CONNECTION FILE, calls what arrives by the connection
with this descriptor, one function after another, until the connection is closed.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import traceback
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from dojo import waits
from dojo.chunks import CHUNK_BYTES
from dojo.waits import CallWork

_PR_SET_PDEATHSIG = 1
_NICENESS = 10  # the calls of others come first: a tenth of a processor that others want too


class Failure(NamedTuple):
    """An error, without its traceback. Most of our errors can't be pickled: they make a text."""

    kind: type[Exception]
    args: tuple[Any, ...]
    attributes: dict[str, Any]

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Return what can be sent of an error that was raised."""
        error.add_note(traceback.format_exc())
        return cls(type(error), error.args, vars(error))

    def error(self) -> Exception:
        """Return an error like the one that was raised."""
        error = self.kind.__new__(self.kind, *self.args)
        # Not the class's own, which may take something else than it passes on.
        builtin: Any = next(kind for kind in self.kind.__mro__ if kind.__module__ == "builtins")
        builtin.__init__(error, *self.args)
        error.__dict__.update(self.attributes)
        return error


_files: list[BinaryIO] = []
_left: list[Iterator[bytes]] = []


def file() -> BinaryIO:
    """Return the file, empty, in which work leaves bytes for the service."""
    return _files[0]


def given(sizes: Iterable[int]) -> list[bytes]:
    """Return what the service gave, which has these sizes, and empty the file."""
    found = [file().read(size) for size in sizes]
    file().seek(0)
    file().truncate()
    return found


def leave(pieces: Iterable[bytes]) -> None:
    """Leave bytes for the service that it asks for in pieces, by `write_next`."""
    _left[:] = [iter(pieces)]


def write_next() -> bool:
    """Write the next of the pieces that were left into the file; return False without one."""
    size = 0
    for piece in _left[0]:
        size += file().write(piece)
        if size >= CHUNK_BYTES:
            break
    return size > 0


def confine(parent: int, max_bytes: int) -> None:
    """Limit this process's memory, have the kernel kill it with its parent, and yield to others.

    The parent has to end a process that exceeds these bytes; the kernel refuses it twice as many.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent died before the kernel was told
        sys.exit(1)
    # Of what it reads of files, as of a large pack, nothing counts.
    resource.setrlimit(resource.RLIMIT_DATA, (2 * max_bytes, 2 * max_bytes))
    # If all memory of the container is used up, the kernel kills this process, not the service.
    Path("/proc/self/oom_score_adj").write_text("1000")
    # Not SCHED_IDLE, which gets nothing of processors that are always busy.
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    os.nice(_NICENESS)
    leave_a_processor()


def leave_a_processor() -> None:
    """Leave one processor to what is short: a lower priority alone does not keep it free.

    Whoever wakes up waits for milliseconds, each time, until the kernel interrupts long work. All
    processes leave the same one.
    """
    _, *others = sorted(os.sched_getaffinity(0))
    if others:
        os.sched_setaffinity(0, others)


def main() -> None:
    """Call functions, one after another."""
    parent, max_bytes, connection, descriptor = map(int, sys.argv[1:])
    confine(parent, max_bytes)
    # A wait for a lock ends as that of a call does. The process is killed when its call ends.
    waits.work_for(CallWork(lambda: True))
    with Connection(connection) as requests, open(descriptor, "r+b") as left:
        _files.append(left)
        while True:
            try:
                work, args, kwargs = requests.recv()
            except EOFError:
                return
            left.seek(0)
            try:
                answer = work(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 - the caller raises it
                answer = Failure.of(error)
            left.flush()
            requests.send(answer)
            del work, args, kwargs, answer
