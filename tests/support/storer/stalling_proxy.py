"""A proxy that stalls after so many bytes, and so keeps a client in the middle of a call."""

import contextlib
import socket
import threading
from collections.abc import Iterator

PIECE_BYTES = 64 * 1024
_PREFACE_BYTES = 24
_HEADER_BYTES = 9  # three of the length, the type, flags, and the stream's number
_DATA = 0


class StallingProxy:
    """Forwards connections to a service; stalls after `max_bytes` bytes from the service.

    The client waits until the connections are cut. That works the same on machines of any speed; a
    client that is stopped by a signal instead might have finished before.
    """

    def __init__(self, address: str, max_bytes: int) -> None:
        """Forward to the service at `address`."""
        self._service = address
        self._left_bytes = max_bytes
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._was_cut = threading.Event()
        self._loses_next = threading.Event()
        self.closed_count = 0
        """How many connections were closed at once, as the service was away."""
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._start_thread(self._accept)

    def stall(self) -> None:
        """Stall now: requests still arrive, and no answer comes back."""
        self._was_cut.clear()
        self._left_bytes = 0

    def lose_next(self) -> None:
        """Stall when the next request arrives at the service, so that its answer can be lost."""
        self._loses_next.set()

    def resume(self) -> None:
        """Cut the connections, so that their answers are lost; new ones do not stall."""
        self.switch_to(self._service)

    def switch_to(self, address: str) -> None:
        """Cut the connections, and forward to another service, from now on without stalling."""
        self._service = address
        self._cut()

    def close(self) -> None:
        """Cut the connections, and accept no more."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._cut()
        for each in self._threads:
            each.join()
        for each_socket in (self._listening, *self._sockets):
            each_socket.close()

    def _cut(self) -> None:
        self._was_cut.set()
        with self._lock:
            sockets = list(self._sockets)
        self._shut_down(*sockets)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the proxy is closed
            while True:
                client, _ = self._listening.accept()
                host, _, port = self._service.rpartition(":")
                try:
                    service = socket.create_connection((host, int(port)))
                except OSError:  # the service is gone, and the client has to notice that
                    client.close()
                    self.closed_count += 1
                    continue
                with self._lock:
                    self._sockets += [client, service]
                self._start_thread(self._forward, client, service)
                self._start_thread(self._forward_back, service, client)

    def _start_thread(self, target: object, *arguments: socket.socket) -> None:
        thread = threading.Thread(target=target, args=arguments)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        frames = _Frames()
        with contextlib.suppress(OSError):
            while piece := source.recv(PIECE_BYTES):
                if frames.have_data(piece) and self._loses_next.is_set():
                    self._loses_next.clear()
                    self.stall()
                target.sendall(piece)
        self._shut_down(source, target)

    def _forward_back(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(PIECE_BYTES):
                if not self._was_cut.is_set():
                    self._left_bytes -= len(piece)
                    if self._left_bytes < 0:
                        self._was_cut.wait()
                        break
                target.sendall(piece)
        self._shut_down(source, target)

    def _shut_down(self, *sockets: socket.socket) -> None:
        for each in sockets:
            with contextlib.suppress(OSError):  # the peer is gone
                each.shutdown(socket.SHUT_RDWR)


class _Frames:
    """What a client of HTTP/2 (RFC 9113) sends: its preface, then frames."""

    def __init__(self) -> None:
        self._skip = _PREFACE_BYTES
        self._header = b""

    def have_data(self, piece: bytes) -> bool:
        """Take the next bytes, and return whether a frame with data of a request begins in them."""
        found = False
        while piece:
            skipped = piece[: self._skip]
            piece, self._skip = piece[len(skipped) :], self._skip - len(skipped)
            missing = _HEADER_BYTES - len(self._header)
            self._header, piece = self._header + piece[:missing], piece[missing:]
            if len(self._header) == _HEADER_BYTES:
                found |= self._header[3] == _DATA
                self._skip, self._header = int.from_bytes(self._header[:3], "big"), b""
        return found


@contextlib.contextmanager
def stalling_proxy(address: str, max_bytes: int) -> Iterator[StallingProxy]:
    """Yield a proxy for the service at `address`, which stalls after `max_bytes` bytes from it."""
    proxy = StallingProxy(address, max_bytes)
    try:
        yield proxy
    finally:
        proxy.close()
