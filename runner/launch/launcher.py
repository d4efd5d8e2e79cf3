"""Starts programs in a container that runs already, each in namespaces of its own.

The work is done by a program in C, `launcher.c`, one process for each container. It joins the
container's control groups and namespaces from outside, so the container needs no rights. Python
would have to fork a process with the memory and threads of a gRPC server.

A launcher ends with its container, and when this side closes the socket between them.
"""

import os
import select
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dojo.engine.client import ANSWER_SECONDS
from dojo.errors import RunLost
from runner.launch.control_group import ControlGroup
from runner.launch.init_process import InitProcess

PROGRAM = Path(__file__).with_name("launcher")

# The processes in a container that are no run's own: the launcher, the first one of the run, and
# the shell that reports the exit status.
PROCESSES = 3

_MAX_MESSAGE_BYTES = 512
_MAX_DESCRIPTORS = 8
_READY, _STARTED, _HERE, _GONE = "ready", "started", "here", "gone"
# How many descriptors come with a message; with `ready`, one for each word.
_DESCRIPTORS = {_STARTED: 2, _HERE: 0}


class CannotLaunch(Exception):
    """The launcher's program is not there."""


class LaunchFailed(RunLost):
    """A program could not be started in a container. It has not begun, so another one may try."""


class ContainerGone(LaunchFailed):
    """It could not be started because the container seems to have ended."""


@dataclass(frozen=True)
class Place:
    """The container in which programs are started, and what each of them gets.

    `process` is the number of the container's first process. `tmp_bytes` and `shm_bytes` are the
    sizes of /tmp and /dev/shm. `masked_paths` and `readonly_paths` are the container's own, of
    which those in /proc count. `command` is executed in `folder`.
    """

    container_id: str
    process: int
    folder: str
    tmp_bytes: int
    shm_bytes: int
    masked_paths: Sequence[str]
    readonly_paths: Sequence[str]
    command: Sequence[str]


class Started:
    """A command that was started: its first process, with which all others end, and its mounts.

    The mounts stay until this is closed, which takes as long as the kernel takes to unmount them.
    If they went with the last process, they would hold up the news of its end.
    """

    def __init__(self, process: InitProcess, mounts: int) -> None:
        """`mounts` is a descriptor of the command's mount namespace."""
        self.process = process
        self._mounts = mounts

    def close(self) -> None:
        """Close the descriptors."""
        self.process.close()
        os.close(self._mounts)


class Launchers:
    """Starts launchers, whose programs have a filter of system calls. Any thread may use it."""

    def __init__(self, seccomp_program: bytes) -> None:
        """`seccomp_program` has the filter's instructions (struct sock_filter).

        Raises CannotLaunch.
        """
        if not PROGRAM.is_file():
            raise CannotLaunch(f"{PROGRAM} is not there; make launcher compiles it")
        self._filter = os.memfd_create("seccomp")
        os.write(self._filter, seccomp_program)

    def start(self, place: Place) -> "Launcher":
        """Start a launcher in a container. Raises LaunchFailed, and in particular ContainerGone."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                return self._start(place, ours, theirs)
            except BaseException:
                ours.close()
                raise

    def _start(self, place: Place, ours: socket.socket, theirs: socket.socket) -> "Launcher":
        descriptors = (theirs.fileno(), self._filter)
        arguments = [
            str(PROGRAM),
            str(theirs.fileno()),
            f"filter={self._filter}",
            f"process={place.process}",
            f"container={place.container_id}",
            f"folder={place.folder}",
            f"tmp=mode=1777,size={place.tmp_bytes}",
            f"shm=mode=1777,size={place.shm_bytes}",
            f"masked={_in_proc(place.masked_paths)}",
            f"readonly={_in_proc(place.readonly_paths)}",
            "--",
            *place.command,
        ]
        try:
            process = subprocess.Popen(  # noqa: S603 - no shell, and nothing that anybody typed
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=descriptors,
                cwd="/",
                env={},
            )
        except OSError as error:
            raise LaunchFailed(f"the launcher can't be started: {error}") from error
        theirs.close()
        try:
            words, files = _receive(ours, _READY)
        except BaseException:
            process.kill()
            raise
        finally:
            process.wait()  # it ends when its child in the container's process namespace begins
        return Launcher(ours, ControlGroup(dict(zip(words, files, strict=True))))


class Launcher:
    """A launcher in one container. Belongs to one thread at a time."""

    def __init__(self, connection: socket.socket, control_group: ControlGroup) -> None:
        self.control_group = control_group
        self._connection = connection

    def is_there(self) -> bool:
        """Say whether the launcher has not ended."""
        poll = select.poll()
        poll.register(self._connection, 0)  # that the other end is closed is always told
        return not poll.poll(0)

    def order(self, descriptors: Sequence[int]) -> None:
        """Order the start of the command; `ordered()` tells what came of it.

        `descriptors` become its descriptors 0, 3, 4 and 5. Raises LaunchFailed.
        """
        try:
            socket.send_fds(self._connection, [b"start"], descriptors)
        except OSError as error:
            raise ContainerGone(f"the launcher has ended: {error}") from error

    def ordered(self) -> Started:
        """Return what was started by the order.

        Raises LaunchFailed if it could not be started, or has ended already.
        """
        _, (process, mounts) = _receive(self._connection, _STARTED)
        started = Started(InitProcess(process), mounts)
        if started.process.has_ended():
            started.close()
            raise LaunchFailed("its first process has ended before it began")
        return started

    def answers(self) -> bool:
        """Ask the launcher whether it still is there. One that has been killed is not."""
        try:
            self._connection.send(b"ping")
            _receive(self._connection, _HERE)
        except (OSError, LaunchFailed):
            return False
        return True

    def close(self) -> None:
        """End the launcher."""
        self._connection.close()
        self.control_group.close()


def _receive(connection: socket.socket, wanted: str) -> tuple[list[str], list[int]]:
    """Return the words behind `wanted` in the next message, and its descriptors."""
    connection.settimeout(ANSWER_SECONDS)
    try:
        message, descriptors, _, _ = socket.recv_fds(
            connection, _MAX_MESSAGE_BYTES, _MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
        )
    except OSError as error:
        raise LaunchFailed(f"the launcher does not answer: {error}") from error
    word, _, rest = message.decode(errors="replace").partition(" ")
    words = rest.split()
    if word == wanted and len(descriptors) == _DESCRIPTORS.get(wanted, len(words)):
        return words, descriptors
    for descriptor in descriptors:
        os.close(descriptor)
    if not message or word == _GONE:
        raise ContainerGone(f"the launcher has ended: {rest}")
    if word == wanted:  # the kernel leaves out descriptors that this process has no room for
        raise LaunchFailed(f"{len(descriptors)} descriptors came: too many files are open")
    raise LaunchFailed(f"the launcher failed: {rest}")


def _in_proc(paths: Sequence[str]) -> str:
    return ":".join(path for path in paths if path.startswith("/proc/"))
