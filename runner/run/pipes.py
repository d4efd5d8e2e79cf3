"""The named pipes between the runner and a run's program.

The program's output reaches the runner through the kernel alone. The engine would copy every byte
twice, and would report the program's end 25 ms late. The pipes are created in a folder inside the
avatar's folder, under a name that nobody can guess. As soon as both sides have opened them, the
names are removed.

There are four pipes: `in` says that the run may begin, `out` and `err` have the program's output,
and `status` says that the container is ready and, at the end, has the exit status. They deserve no
more trust than the program itself. A program that writes a status could as well have exited with
that status. The run ends when its processes end, and the kernel reports that.
"""

import fcntl
import os
import re
import secrets
import select
import struct
import termios
import time
from collections.abc import Callable, Mapping

from runner.run.init_process import InitProcess
from runner.sandbox import safe_fs

IN, OUT, ERR, STATUS = "in", "out", "err", "status"
_NAMES = (IN, OUT, ERR, STATUS)
_END = "end"
_PREFIX = ".run-"
# A folder of pipes that is older than this was left by a runner that was killed.
_MAX_NAMED_SECONDS = 600
_READ_BYTES = 64 * 1024

_READY = b"ready\n"
_STATUS_LINE = re.compile(rb"([0-9]{1,3})\n\Z")
_MAX_STATUS_BYTES = 64
# How often to check that a container that is not ready yet still runs.
_CHECK_SECONDS = 0.1
# How often to ask whether a run has ended whose first process can't be seen. Most runs end sooner,
# with their pipes.
_ASK_SECONDS = 1.0


class Pipes:
    """The pipes of one run. Belongs to one thread at a time."""

    def __init__(self, avatar_folder: int, uid: int) -> None:
        """Create the pipes in the avatar's folder, for a program of this user and group.

        `folder_name` is the name of the pipes' own folder.
        """
        self.folder_name = _PREFIX + secrets.token_hex(16)
        self._avatar_folder = os.dup(avatar_folder)
        self._descriptors: dict[str, int] = {}
        self._status = b""
        _remove_orphans(avatar_folder)
        try:
            os.mkdir(self.folder_name, 0o711, dir_fd=avatar_folder)
            with safe_fs.opened(self.folder_name, avatar_folder) as folder:
                for name in _NAMES:
                    os.mkfifo(name, 0o600, dir_fd=folder)
                    # Owned by us, and open to the program's group one way only. A program that
                    # could read its own output would take bytes away that poll() has reported.
                    os.chown(name, -1, uid, dir_fd=folder, follow_symlinks=False)
                    os.chmod(name, 0o640 if name == IN else 0o620, dir_fd=folder)
                    # `in` is opened both ways: a pipe without a reader can't be opened to write.
                    mode = os.O_RDWR if name == IN else os.O_RDONLY
                    self._descriptors[name] = os.open(
                        name, mode | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder
                    )
        except BaseException:
            self.close()
            raise

    def add_file(self, name: str, content: bytes) -> None:
        """Create a file that everybody may read in the pipes' folder, until their names go."""
        with safe_fs.opened(self.folder_name, self._avatar_folder) as folder:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(name, flags, 0o600, dir_fd=folder), "wb") as file:
                file.write(content)
                os.fchmod(file.fileno(), 0o644)

    def wait_until_ready(self, seconds: float, has_ended: Callable[[], bool]) -> bool:
        """Wait for the container to be ready, and remove the pipes' names; say whether it is.

        False if it ended instead, or takes longer than `seconds`. `has_ended` has to say whether it
        ended: a pipe that the container has not opened yet does not show that.
        """
        poll = select.poll()
        poll.register(self._descriptors[STATUS], select.POLLIN)
        received = b""
        deadline = time.monotonic() + seconds
        while received != _READY and _READY.startswith(received):
            left_seconds = deadline - time.monotonic()
            if not poll.poll(max(0, min(left_seconds, _CHECK_SECONDS)) * 1000):
                if left_seconds <= 0 or has_ended():
                    break
                continue
            if not (piece := self._read(STATUS)):
                break
            received += piece
        self._remove_names()
        return received == _READY

    def is_waiting(self) -> bool:
        """Say whether the container still waits for its run to begin."""
        poll = select.poll()
        poll.register(self._descriptors[STATUS], select.POLLIN)
        return not poll.poll(0)

    def begin(self) -> None:
        """Let the run begin."""
        os.write(self._descriptors[IN], b"\n")

    def follow(
        self,
        on_data: Mapping[str, Callable[[memoryview], None]],
        check: Callable[[], float],
        process: InitProcess | None,
        has_ended: Callable[[], bool],
    ) -> None:
        """Read the output until the run has ended; then read what is in the pipes, and no more.

        `on_data` maps `out` and `err` to functions that get their bytes; the buffer is reused when
        a function returns. `check` is called again and again, and returns how many seconds may
        pass until the next call. An error that it raises ends the reading.

        The run ends with `process`. The end of the pipes does not count: a program can hand them
        to somebody outside of its container, who keeps them open. Without `process`, the run ends
        with its pipes, or when `has_ended`, which is asked now and then, says so.
        """
        buffer = bytearray(_READ_BYTES)
        poll = select.poll()
        names = {self._descriptors[name]: name for name in (OUT, ERR, STATUS)}
        if process is not None:
            names[process.descriptor] = _END
        for descriptor in names:
            poll.register(descriptor, select.POLLIN)
        may_go_on = _asking_now_and_then(has_ended) if process is None else lambda: True
        while (names if process is None else process.descriptor in names) and may_go_on():
            seconds = check()
            for descriptor, _ in poll.poll(seconds * 1000):
                is_end = names[descriptor] == _END
                size_bytes = 0 if is_end else os.readv(descriptor, [buffer])
                if size_bytes:
                    self._deliver(names[descriptor], memoryview(buffer)[:size_bytes], on_data)
                else:
                    poll.unregister(descriptor)
                    del names[descriptor]
        for name in names.values():
            if name != _END:
                self._drain(name, buffer, on_data)

    def _drain(
        self, name: str, buffer: bytearray, on_data: Mapping[str, Callable[[memoryview], None]]
    ) -> None:
        """Read what is in a pipe now. Whoever else holds the pipe may go on writing."""
        descriptor = self._descriptors[name]
        left_bytes = _readable_bytes(descriptor)
        while left_bytes > 0:
            view = memoryview(buffer)[:left_bytes]
            size_bytes = os.readv(descriptor, [view])
            self._deliver(name, view[:size_bytes], on_data)
            left_bytes -= size_bytes

    def _deliver(
        self, name: str, data: memoryview, on_data: Mapping[str, Callable[[memoryview], None]]
    ) -> None:
        if name == STATUS:
            self._status = (self._status + data)[:_MAX_STATUS_BYTES]
        else:
            on_data[name](data)

    @property
    def is_status_spoilt(self) -> bool:
        """Whether the pipe has something else than one exit status: the run wrote to it."""
        return bool(self._status) and self.status is None

    @property
    def status(self) -> int | None:
        """The exit status of cyber-dojo.sh; None if there is none, or it was spoilt."""
        found = _STATUS_LINE.match(self._status)
        return int(found[1]) if found and int(found[1]) < 256 else None

    def close(self) -> None:
        """Close the pipes, which ends a container that still waits."""
        self._remove_names()
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()

    def _read(self, name: str) -> bytes:
        try:
            return os.read(self._descriptors[name], _READ_BYTES)
        except BlockingIOError:
            return b""

    def _remove_names(self) -> None:
        """Remove the pipes' folder. Pipes that are open keep working."""
        if self._avatar_folder == -1:
            return
        _remove_names(self.folder_name, self._avatar_folder)
        os.close(self._avatar_folder)
        self._avatar_folder = -1


def _asking_now_and_then(has_ended: Callable[[], bool]) -> Callable[[], bool]:
    """Return a function that says whether a run goes on, and asks only after a while."""
    asked = time.monotonic()

    def goes_on() -> bool:
        nonlocal asked
        if time.monotonic() < asked + _ASK_SECONDS:
            return True
        asked = time.monotonic()
        return not has_ended()

    return goes_on


def _readable_bytes(descriptor: int) -> int:
    """Return how many bytes are in a pipe now."""
    (count,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)))
    return int(count)


def _remove_names(folder_name: str, avatar_folder: int) -> None:
    """Remove a folder of pipes from an avatar's folder, if it exists."""
    try:
        with safe_fs.opened(folder_name, avatar_folder) as folder:
            for name in os.listdir(folder):
                os.unlink(name, dir_fd=folder)
        os.rmdir(folder_name, dir_fd=avatar_folder)
    except FileNotFoundError:
        return


def _remove_orphans(avatar_folder: int) -> None:
    """Remove the pipes that a runner left when it was killed."""
    for name in os.listdir(avatar_folder):
        if name.startswith(_PREFIX):
            found = safe_fs.status(name, avatar_folder)
            if found is not None and time.time() - found.st_mtime > _MAX_NAMED_SECONDS:
                safe_fs.TreeRemover(avatar_folder).remove(name, avatar_folder)
