"""What a run's program writes, as the runner reads it: its output, and its exit status.

A run's streams deserve no more trust than its program. A program that writes a status could as well
have exited with that status. The run ends when its processes end, and the kernel reports that.
"""

import fcntl
import os
import re
import select
import struct
import termios
import time
from collections.abc import Callable, Mapping

from runner.launch.init_process import InitProcess

IN, OUT, ERR, STATUS = "in", "out", "err", "status"
_END = "end"
_READ_BYTES = 64 * 1024

_STATUS_LINE = re.compile(rb"([0-9]{1,3})\n\Z")
_MAX_STATUS_BYTES = 64
# How often to ask whether a run has ended whose first process can't be seen. Most runs end sooner,
# with their pipes.
_ASK_SECONDS = 1.0


class Streams:
    """The runner's ends of a run's pipes. Belongs to one thread at a time."""

    def __init__(self) -> None:
        self._descriptors: dict[str, int] = {}
        self._status = b""

    def tell(self, word: str) -> None:
        """Tell the shell that waits something: one of the words of `entrypoint`."""
        os.write(self._descriptors[IN], f"{word}\n".encode())

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
        """Close the pipes."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()

    def _read(self, name: str) -> bytes:
        try:
            return os.read(self._descriptors[name], _READ_BYTES)
        except BlockingIOError:
            return b""


class UnnamedPipes(Streams):
    """Pipes without names, for a program that is handed their other ends."""

    def __init__(self, uid: int) -> None:
        """Make the pipes, for a program of this user and group.

        `handed` are the program's ends: what it waits for, its output, errors and exit status. They
        are the caller's to hand over, and to close with `close_handed()`.
        """
        super().__init__()
        self.handed: list[int] = []
        try:
            waits, self._descriptors[IN] = os.pipe2(os.O_CLOEXEC)
            self.handed.append(waits)
            for name in (OUT, ERR, STATUS):
                self._descriptors[name], ours = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
                self.handed.append(ours)
                os.set_blocking(ours, True)
                # Ours, and open to the program's group one way only, also if it opens them again by
                # a path in /proc. A program that could read its own output would take bytes away
                # that poll() has reported.
                os.fchown(ours, -1, uid)
                os.fchmod(ours, 0o620)
        except BaseException:
            self.close()
            raise

    def close_handed(self) -> None:
        """Close the program's ends: it has them."""
        for descriptor in self.handed:
            os.close(descriptor)
        self.handed.clear()

    def close(self) -> None:
        """Close the pipes, both ends."""
        self.close_handed()
        super().close()


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
