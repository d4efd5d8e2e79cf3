"""What the client of etcd makes of a member's refusals, which a real one gives on no demand."""

from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest

from dojo.errors import EtcdFull, EtcdUnavailable
from dojo.etcd.client import Etcd, delete

NO_SPACE = "etcdserver: mvcc: database space exceeded"
BUSY = "etcdserver: too many requests"


class Refusing(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs
    """A member that refuses each call, with this message."""

    def __init__(self, message: str) -> None:
        self.message = message
        self.call_count = 0

    def service(self, _: grpc.HandlerCallDetails) -> Any:
        """Refuse whatever is called."""

        def refuse(_: bytes, context: grpc.ServicerContext) -> bytes:
            self.call_count += 1
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, self.message)

        return grpc.unary_unary_rpc_method_handler(refuse)


@pytest.fixture
def refusing() -> Iterator[Callable[[str], tuple[Refusing, Etcd]]]:
    """Starts a member that refuses; returns it, and a client of it."""
    servers: list[grpc.Server] = []
    clients: list[Etcd] = []

    def start(message: str) -> tuple[Refusing, Etcd]:
        member = Refusing(message)
        servers.append(grpc.server(futures.ThreadPoolExecutor(2), handlers=[member]))
        port = servers[-1].add_insecure_port("127.0.0.1:0")
        servers[-1].start()
        clients.append(Etcd([f"127.0.0.1:{port}"]))
        return member, clients[-1]

    yield start
    for each in clients:
        each.close()
    for server in servers:
        server.stop(None).wait()


def test_a_change_that_has_no_room_is_told_from_one_that_comes_at_a_bad_moment(
    refusing: Callable[[str], tuple[Refusing, Etcd]],
) -> None:
    _, full = refusing(NO_SPACE)
    with pytest.raises(EtcdFull, match="space exceeded"):
        full.transact([], [delete(b"key")])
    _, busy = refusing(BUSY)
    with pytest.raises(EtcdUnavailable, match="too many requests"):
        busy.transact([], [delete(b"key")])


def test_a_lease_that_has_no_room_is_not_asked_for_again(
    refusing: Callable[[str], tuple[Refusing, Etcd]],
) -> None:
    member, client = refusing(NO_SPACE)
    with pytest.raises(EtcdFull):
        client.grant(4)
    assert member.call_count == 1
