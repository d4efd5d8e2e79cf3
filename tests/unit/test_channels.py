"""A peer that is gone without a word is noticed, by the server and by the client."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest

from dojo import channels
from dojo.service import serving
from dojo.service.settings import CallerSettings
from support.storer.stalling_proxy import StallingProxy, stalling_proxy

SOON_SECONDS = 0.5
WATCH = "/a/Watch"


class Server:
    """A server with the options of ours, whose one call has no end of its own."""

    def __init__(self, keepalive_seconds: float) -> None:
        self._listening, self.has_cancelled = threading.Event(), threading.Event()
        self._keepalive_seconds = keepalive_seconds
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._listening.wait(60)

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        server = grpc.aio.server(options=serving.server_options(self._keepalive_seconds))
        handler = grpc.unary_stream_rpc_method_handler(self._watch)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("a", {"Watch": handler}),)
        )
        self.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        self._listening.set()
        await self._stopping.wait()
        await server.stop(0)

    async def _watch(self, _: bytes, __: object) -> AsyncIterator[bytes]:
        yield b"begun"
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.has_cancelled.set()
            raise

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()


@contextlib.contextmanager
def watching(
    server_seconds: float, client_seconds: float
) -> Iterator[tuple[Server, StallingProxy, Any]]:
    """Give a server, a proxy before it, and a call that has begun."""
    server = Server(server_seconds)
    try:
        with (
            stalling_proxy(server.address, 2**62) as proxy,
            channels.open_channel(
                proxy.address, CallerSettings(), keepalive_seconds=client_seconds
            ) as channel,
        ):
            same = bytes  # a message is its bytes
            call: Any = channel.unary_stream(WATCH, same, same)(b"", timeout=120)
            assert next(call) == b"begun"
            yield server, proxy, call
    finally:
        server.close()


def test_a_server_ends_the_calls_of_a_client_that_is_gone() -> None:
    with watching(SOON_SECONDS, 3600) as (server, proxy, _):
        proxy.stall()
        assert server.has_cancelled.wait(60)


def test_a_client_ends_the_calls_to_a_server_that_is_gone() -> None:
    with watching(3600, SOON_SECONDS) as (_, proxy, call):
        proxy.stall()
        with pytest.raises(grpc.RpcError) as caught:
            next(call)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_peer_that_is_gone_is_noticed_within_a_minute() -> None:
    assert channels.KEEPALIVE_SECONDS + channels.KEEPALIVE_TIMEOUT_SECONDS <= 60


def test_a_server_lets_clients_ping_as_often_as_ours_do() -> None:
    assert serving.PING_SECONDS <= 10 <= channels.KEEPALIVE_SECONDS
