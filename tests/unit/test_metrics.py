"""Metrics: the values of labels are bounded, and Prometheus gets all of them."""

import contextlib
import socket
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import make_wsgi_app

from dojo.engine.client import operation_of
from dojo.metrics import OTHER, REGISTRY, BoundedNames
from dojo.service import http_server
from dojo.service.http_server import HttpServer
from storer import metrics


@pytest.fixture
def server() -> Iterator[HttpServer]:
    server = HttpServer("127.0.0.1:0", make_wsgi_app(REGISTRY), "metrics")
    yield server
    server.stop()


def test_names_beyond_the_most_and_names_that_were_not_learnt_are_other() -> None:
    names = BoundedNames(2)
    assert names.value("a") == OTHER
    assert [names.learn(each) for each in ("a", "b", "c", "a")] == ["a", "b", OTHER, "a"]
    assert names.value("b") == "b"


@pytest.mark.parametrize(
    ("method", "url", "operation"),
    [
        (
            "POST",
            "/v1.41/containers/create?name=kata-493A06504A",
            "POST containers create",
        ),
        ("POST", "/v1.41/containers/493A06504A/start", "POST containers start"),
        ("DELETE", "/v1.41/containers/493A06504A?force=True", "DELETE containers"),
        ("GET", "/v1.41/images/create/start/json", "GET images json"),
        ("DELETE", "/v1.41/volumes/cyber-dojo-kata-493A06504A", "DELETE volumes"),
        ("GET", "/version", "GET version"),
        ("GET", "/493A06504A/x", "GET"),
        ("GET", "/", "GET"),
    ],
)
def test_a_request_to_the_engine_is_counted_without_names(
    method: str, url: str, operation: str
) -> None:
    assert operation_of(method, url) == operation


def test_prometheus_gets_all_metrics(server: HttpServer) -> None:
    metrics.MAX_DATA_CONTAINERS.set(4711)
    with urllib.request.urlopen(f"http://{server.address}/metrics") as answer:
        text = answer.read().decode()
    assert "cyber_dojo_max_data_containers 4711.0" in text
    assert "process_resident_memory_bytes" in text


def get(server: HttpServer) -> int:
    """Ask for the metrics; return the status."""
    with urllib.request.urlopen(f"http://{server.address}/metrics") as answer:
        return int(answer.status)


def connected(server: HttpServer) -> socket.socket:
    host, _, port = server.address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=60)


def test_a_connection_that_lasts_is_closed_whatever_it_sends(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connected(server) as slow:
        slow.sendall(b"GET /metrics HTTP/1.1\r\n")
        assert get(server) == 200
        monkeypatch.setattr(http_server, "REQUEST_SECONDS", 0)
        assert slow.recv(1) == b""


def test_silent_connections_keep_nobody_out_and_take_few_threads(server: HttpServer) -> None:
    with contextlib.ExitStack() as opened:
        silent = [
            opened.enter_context(connected(server)) for _ in range(3 * http_server.MAX_CONNECTIONS)
        ]
        assert get(server) == 200
        for each in silent[: http_server.MAX_CONNECTIONS]:
            assert each.recv(1) == b""
        assert len(server._server._begun) <= http_server.MAX_CONNECTIONS


def test_two_servers_do_not_share_an_address(server: HttpServer) -> None:
    with pytest.raises(OSError, match="in use"):
        HttpServer(server.address, make_wsgi_app(REGISTRY), "metrics")
