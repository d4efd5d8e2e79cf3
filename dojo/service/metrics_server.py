"""Serves a service's metrics to Prometheus, by HTTP, on an address of their own."""

import socket
import threading
from functools import partial
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from dojo.metrics import REGISTRY

# Prometheus sends a request at once; a connection that sends none is closed after this time.
REQUEST_SECONDS = 10
# How soon the thread sees that it is to stop.
_STOP_SECONDS = 0.1


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    # A second service must not take over the address of a first one.
    allow_reuse_port = False


class _ServerOnIPv6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_SECONDS

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Log nothing: the base class would write to standard error, where our log is."""


class MetricsServer:
    """A thread that answers each GET with all metrics, in the format that it asks for."""

    def __init__(self, listen: str) -> None:
        """Listen on `listen` (host:port). Raises OSError if that can't be listened on."""
        host, _, port = listen.rpartition(":")
        self._host = host
        kind = _ServerOnIPv6 if host.startswith("[") else _Server
        self._server = make_server(
            host.strip("[]"), int(port), make_wsgi_app(REGISTRY), kind, _Handler
        )
        self._thread = threading.Thread(
            target=partial(self._server.serve_forever, _STOP_SECONDS), name="metrics", daemon=True
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
