"""Metrics: the values of labels are bounded, and Prometheus gets all of them."""

import http.client
import socket
import urllib.request
from collections.abc import Iterator

import pytest

from dojo.engine.client import operation_of
from dojo.metrics import OTHER, BoundedNames
from dojo.service import metrics_server
from dojo.service.metrics_server import MetricsServer
from storer import metrics


@pytest.fixture
def server() -> Iterator[MetricsServer]:
    server = MetricsServer("127.0.0.1:0")
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


def test_prometheus_gets_all_metrics(server: MetricsServer) -> None:
    metrics.MAX_DATA_CONTAINERS.set(4711)
    with urllib.request.urlopen(f"http://{server.address}/metrics") as answer:
        text = answer.read().decode()
    assert "cyber_dojo_max_data_containers 4711.0" in text
    assert "process_resident_memory_bytes" in text


def test_a_connection_without_a_request_keeps_nobody_out_and_is_closed(
    server: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_server._Handler, "timeout", 0.01)
    host, _, port = server.address.rpartition(":")
    with socket.create_connection((host, int(port))) as silent:
        connection = http.client.HTTPConnection(server.address)
        connection.request("GET", "/metrics")
        assert connection.getresponse().status == 200
        connection.close()
        silent.settimeout(60)
        assert silent.recv(1) == b""


def test_two_servers_do_not_share_an_address(server: MetricsServer) -> None:
    with pytest.raises(OSError, match="in use"):
        MetricsServer(server.address)
