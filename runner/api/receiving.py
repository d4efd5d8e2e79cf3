"""Bounds how many requests are received at once: gRPC holds each in memory before any code of ours.

A call that has to wait has sent its name only. Its request stays with its sender, as the flow
control of HTTP/2 has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from dojo import limits


class ReceivingInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Lets a limited number of calls send their requests. Belongs to one event loop."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(limits.MAX_RECEIVED_AT_ONCE)

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any]]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """Wait for a turn, which ends when the request is there, or its call has ended."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith("/cyberdojo."):
            return handler
        parse: Any = handler.request_deserializer
        await self._turns.acquire()
        codecs: dict[str, Any] = {
            "request_deserializer": _Receiving(_Turn(self._turns), parse),
            "response_serializer": handler.response_serializer,
        }
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(handler.unary_unary, **codecs)
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(handler.unary_stream, **codecs)
        raise NotImplementedError("the runner has no RPC with a stream of requests")


class _Turn:
    """One of the turns, until it ends for the first time. Belongs to the event loop."""

    def __init__(self, turns: asyncio.Semaphore) -> None:
        self._turns = turns
        self.has_ended = False
        self.loop = asyncio.get_running_loop()
        self._timer = self.loop.call_later(limits.MAX_RECEIVING_SECONDS, self.end)

    def end(self) -> None:
        if not self.has_ended:
            self.has_ended = True
            self._timer.cancel()
            self._turns.release()


class _Receiving:
    """Parses the request of one call, and ends its turn. gRPC drops this object with the call."""

    def __init__(self, turn: _Turn, parse: Callable[[bytes], Any]) -> None:
        self._turn = turn
        self._parse = parse

    def __call__(self, message: bytes) -> Any:
        self._turn.end()
        return self._parse(message)

    def __del__(self) -> None:
        # Any thread can collect garbage.
        if not self._turn.has_ended and not self._turn.loop.is_closed():
            self._turn.loop.call_soon_threadsafe(self._turn.end)
