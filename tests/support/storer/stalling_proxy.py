"""A line to a service on which only so much comes, for clients to be in the middle of something."""

import contextlib
import socket
import threading
from collections.abc import Iterator

PIECE_BYTES = 64 * 1024


class Line:
    """Carries connections to a service: from it come so many bytes, and then nothing more.

    Until it is cut, who reads waits. What any machine makes of this is the same, however fast it
    is: a client that was stopped in the middle by a signal might have been done.
    """

    def __init__(self, address: str, most_bytes: int) -> None:
        """Lead to the service at an address."""
        self._leads_to = address
        self._left_bytes = most_bytes
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._was_cut = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._begin(self._accept)

    def lead_to(self, address: str) -> None:
        """Cut what is held, and lead to another service, from which everything comes."""
        self._leads_to = address
        self._cut()

    def close(self) -> None:
        """Cut it, for good."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._cut()
        for each in self._threads:
            each.join()
        for end in (self._listening, *self._ends):
            end.close()

    def _cut(self) -> None:
        self._was_cut.set()
        with self._lock:
            ends = list(self._ends)
        for each in ends:
            with contextlib.suppress(OSError):  # its other end is gone
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it is closed
            while True:
                ours, _ = self._listening.accept()
                host, _, port = self._leads_to.rpartition(":")
                try:
                    theirs = socket.create_connection((host, int(port)))
                except OSError:  # the service is gone, and the client is told so
                    ours.close()
                    continue
                with self._lock:
                    self._ends += [ours, theirs]
                self._begin(self._carry, ours, theirs)
                self._begin(self._carry_back, theirs, ours)

    def _begin(self, target: object, *arguments: socket.socket) -> None:
        thread = threading.Thread(target=target, args=arguments)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(PIECE_BYTES):
                target.sendall(piece)
        self._end(source, target)

    def _carry_back(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(PIECE_BYTES):
                if not self._was_cut.is_set():
                    self._left_bytes -= len(piece)
                    if self._left_bytes < 0:
                        self._was_cut.wait()
                        break
                target.sendall(piece)
        self._end(source, target)

    def _end(self, *ends: socket.socket) -> None:
        for each in ends:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def a_line(address: str, most_bytes: int) -> Iterator[Line]:
    """Give a line to the service at an address, on which so many bytes come from there."""
    line = Line(address, most_bytes)
    try:
        yield line
    finally:
        line.close()
