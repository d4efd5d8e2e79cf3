"""Answers programs around a service by HTTP: Prometheus, and routers that ask for its health."""

import contextlib
import socket
import threading
import time
from functools import partial
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

# Such programs send a request at once, and have the answer in a fraction of a second. A connection
# that lasts longer is closed.
REQUEST_SECONDS = 10
# Each takes a thread.
MAX_CONNECTIONS = 32
# How often the thread looks whether it is to stop, and which connections to close.
_POLL_SECONDS = 0.1


class _Server(ThreadingMixIn, WSGIServer):
    """Answers each connection in a thread; closes the oldest of too many, and those that last.

    A lock guards the open connections: the server's thread adds and closes them, and the thread of
    each removes it.
    """

    daemon_threads = True
    # A second service must not take over the address of a first one.
    allow_reuse_port = False
    # Connections that the thread has not seen yet: with the base class's five, others would wait.
    request_queue_size = 4 * MAX_CONNECTIONS

    def __init__(self, *arguments: Any) -> None:
        self._begun: dict[socket.socket, float] = {}  # the oldest first
        self._lock = threading.Lock()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection in a thread of its own."""
        with self._lock:
            if len(self._begun) >= MAX_CONNECTIONS:
                self._end(next(iter(self._begun)))
            self._begun[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._lock:
            self._begun.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """End the connections that last too long; called several times a second."""
        oldest = time.monotonic() - REQUEST_SECONDS
        with self._lock:
            for request in [each for each, begun in self._begun.items() if begun < oldest]:
                self._end(request)

    def _end(self, request: socket.socket) -> None:
        """Have the thread that waits for a connection find its end. For the lock's holder."""
        del self._begun[request]
        with contextlib.suppress(OSError):  # the other side has ended it
            request.shutdown(socket.SHUT_RDWR)


class _ServerOnIPv6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Log nothing: the base class would write to standard error, where our log is."""


class HttpServer:
    """A thread that answers each request by a WSGI application."""

    def __init__(self, listen: str, application: Any, name: str) -> None:
        """Listen on `listen` (host:port). Raises OSError if that can't be listened on.

        `name` is the thread's.
        """
        host, _, port = listen.rpartition(":")
        self._host = host
        kind = _ServerOnIPv6 if host.startswith("[") else _Server
        self._server = make_server(host.strip("[]"), int(port), application, kind, _Handler)
        self._thread = threading.Thread(
            target=partial(self._server.serve_forever, _POLL_SECONDS), name=name, daemon=True
        )
        self._thread.start()

    @property
    def address(self) -> str:
        """The host:port that it listens on."""
        return f"{self._host}:{self._server.server_port}"

    def stop(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
