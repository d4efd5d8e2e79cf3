"""A router sends all calls of a kata to one node, while that node takes calls."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from dojo import kata_ids
from support.machines.fleet import Fleet
from support.machines.host import Host
from support.machines.node import PORTS
from support.machines.router import Router
from support.services import wait_until

HEALTH_PORT = 7002

# A storer, a runner and the health of a node: each call is answered with the service's and the
# node's name, and each GET with the status that a file has.
NODE = """
import http.server, sys
from concurrent import futures
from pathlib import Path
import grpc

name, address, health_port, health = sys.argv[1:5]

class Handler(grpc.GenericRpcHandler):
    def __init__(self, module):
        self.answer = f"{module} on {name}".encode()

    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: self.answer)

class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(Path(health).read_text()))
        self.end_headers()

servers = []
for each in sys.argv[5:]:
    module, _, port = each.partition("=")
    servers.append(grpc.server(futures.ThreadPoolExecutor(), handlers=[Handler(module)]))
    servers[-1].add_insecure_port(f"{address}:{port}")
    servers[-1].start()
http.server.ThreadingHTTPServer((address, int(health_port)), Health).serve_forever()
"""


@pytest.fixture(scope="module")
def nodes(fleet: Fleet) -> list[Host]:
    return fleet.start_hosts("n1", "n2", "n3")


def set_health(node: Host, status: int) -> None:
    part = node.folder / "health.part"
    part.write_text(str(status))
    part.rename(node.folder / "health")


@pytest.fixture(scope="module")
def router(fleet: Fleet, nodes: list[Host]) -> Iterator[Router]:
    modules = [f"{module}={port}" for module, port in PORTS.items()]
    for node in nodes:
        set_health(node, 200)
        known = [node.name, node.address, str(HEALTH_PORT), f"{node.folder}/health"]
        with node.log_file.open("ab") as log:
            node.popen([sys.executable, "-c", NODE, *known, *modules], stdout=log, stderr=log)
    (host,) = fleet.start_hosts("router")
    router = Router(host, nodes, HEALTH_PORT)
    router.start()
    yield router
    router.kill()


@pytest.fixture(autouse=True)
def _all_up(router: Router, nodes: list[Host]) -> None:
    wait_until(lambda: states(router) == [dict.fromkeys((node.name for node in nodes), "UP")] * 2)


def states(router: Router) -> list[dict[str, str]]:
    return [router.states(module) for module in PORTS]


Call = Callable[..., str]


@pytest.fixture(scope="module")
def call(router: Router, connect: Callable[[str], grpc.Channel]) -> Call:
    """Calls a service for a kata, or for none; returns the node that answers."""
    channels: dict[str, Any] = {module: connect(router.address(module)) for module in PORTS}

    def answering(module: str, kata_id: str | None = None) -> str:
        method = channels[module].unary_unary("/any.Service/Method")
        metadata = [("kata-id", kata_id)] if kata_id else []
        answered, _, node = method(b"", metadata=metadata, timeout=10).decode().partition(" on ")
        assert answered == module
        return str(node)

    return answering


def test_all_calls_of_a_kata_reach_one_node_and_those_of_many_katas_reach_all(
    call: Call, nodes: list[Host]
) -> None:
    reached = set()
    for kata_id in (kata_ids.new() for _ in range(50)):
        (node,) = {call(module, kata_id) for module in PORTS for _ in range(3)}
        reached.add(node)
    assert reached == {node.name for node in nodes}


def test_a_call_for_no_kata_reaches_a_node(call: Call, nodes: list[Host]) -> None:
    assert call("storer") in {node.name for node in nodes}


def test_a_node_that_is_drained_gets_no_calls(
    call: Call, router: Router, nodes: list[Host]
) -> None:
    ours = kata_ids.new()
    drained = next(node for node in nodes if node.name == call("storer", ours))
    set_health(drained, 404)
    wait_until(lambda: all(each[drained.name] == "NOLB" for each in states(router)))
    assert call("storer", ours) == call("runner", ours) != drained.name
    set_health(drained, 200)
    wait_until(lambda: all(each[drained.name] == "UP" for each in states(router)))
    assert call("storer", ours) == call("runner", ours) == drained.name


def test_a_node_that_can_not_serve_gets_no_calls(
    call: Call, router: Router, nodes: list[Host]
) -> None:
    ours = kata_ids.new()
    node = next(node for node in nodes if node.name == call("storer", ours))
    set_health(node, 503)
    wait_until(lambda: all(each[node.name] == "DOWN" for each in states(router)))
    assert call("storer", ours) == call("runner", ours) != node.name
    set_health(node, 200)


def test_calls_reach_the_nodes_although_none_is_ready(
    call: Call, router: Router, nodes: list[Host]
) -> None:
    ours = kata_ids.new()
    for node in nodes:
        set_health(node, 503)
    wait_until(lambda: all(set(each.values()) == {"DOWN"} for each in states(router)))
    assert call("storer", ours) == call("runner", ours)
    for node in nodes:
        set_health(node, 200)


def test_a_node_that_hangs_gets_no_calls_and_keeps_nobody_elses(
    call: Call, router: Router, nodes: list[Host]
) -> None:
    before = {kata_id: call("storer", kata_id) for kata_id in (kata_ids.new() for _ in range(20))}
    frozen = nodes[0]
    frozen.freeze()
    wait_until(lambda: all(each[frozen.name] == "DOWN" for each in states(router)))
    now = {kata_id: call("storer", kata_id) for kata_id in before}
    assert frozen.name not in now.values()
    assert all(now[kata_id] == node for kata_id, node in before.items() if node != frozen.name)
    frozen.thaw()
