"""The storers of other machines, where a call of this one is about katas of theirs too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

import grpc.aio
import structlog

from cyberdojo.runner.v1 import runner_pb2
from cyberdojo.storer.v1 import storer_pb2
from dojo import image_names
from dojo.errors import DojoError, KataMoved, MachineUnavailable, OnlyMachine, StorerUnavailable
from dojo.machines.nodes import Node
from dojo.refusals import error_of_kata, reason_of
from dojo.service.forwarding import Elsewhere, Forwarding, caller_left

_log = structlog.get_logger()

_LIST_IMAGES = "/cyberdojo.runner.v1.RunnerService/ListImages"
_WATCH = "/cyberdojo.storer.v1.StorerService/WatchKata"
_VERIFY = "/cyberdojo.storer.v1.StorerService/VerifyKatas"

# How long another machine may take to tell of itself.
_CALL_SECONDS = 3

# The machine stops, or is gone: another one will own the kata.
_STOPPED = {"", "STOPPING"}


class Peers:
    """The storers of other machines, if there are any. Belongs to the event loop's thread."""

    def __init__(self, forwarding: Forwarding | None) -> None:
        self._forwarding = forwarding

    async def call(self, name: str, address: str, method: str, request: object) -> bytes:
        """Call the storer of another machine; return its answer, serialized.

        Raises grpc.aio.AioRpcError, and asyncio.CancelledError if the machine is gone.
        """
        if self._forwarding is None:
            raise OnlyMachine
        return await self._forwarding.call(name, address, method, request, _CALL_SECONDS)

    async def verify(
        self, node: Node, request: storer_pb2.VerifyKatasRequest
    ) -> AsyncIterator[storer_pb2.VerifyKatasResponse]:
        """Yield what another machine finds in its katas. Raises MachineUnavailable."""
        if self._forwarding is None:
            raise OnlyMachine
        gone = MachineUnavailable(node.name, "it is gone; verify again")
        place = Elsewhere(node.name, node.storer)
        try:
            async with aclosing(self._forwarding.parts(place, _VERIFY, request, gone)) as parts:
                async for part in parts:
                    yield storer_pb2.VerifyKatasResponse.FromString(part)
        except grpc.aio.AioRpcError as error:
            raise MachineUnavailable(node.name, str(error.details())) from error

    async def has_image(self, machines: Sequence[Node], name: str, image_name: str) -> bool:
        """Say whether tests can be run in an image on one of the machines, as its runner tells.

        A machine whose runner nobody has told is taken to have all.
        """
        found = [each for each in machines if each.name == name and each.runner]
        if self._forwarding is None or not image_name or not found:
            return True
        request = runner_pb2.ListImagesRequest()
        wanted = image_names.tagged(image_name)
        try:
            while True:
                content = await self._forwarding.call(
                    name, found[0].runner, _LIST_IMAGES, request, _CALL_SECONDS
                )
                page = runner_pb2.ListImagesResponse.FromString(content)
                if any(image_names.tagged(each.image_name) == wanted for each in page.images):
                    return True
                if not page.next_page_token:
                    break
                request.page_token = page.next_page_token
        except (grpc.aio.AioRpcError, asyncio.CancelledError) as error:
            if caller_left():
                raise
            _log.info("images not told", node=name, reason=str(error)[:200])
            return False
        _log.info("kata not given up: its image is not there", node=name, image=image_name)
        return False

    def watch(
        self, request: storer_pb2.WatchKataRequest
    ) -> AsyncGenerator[storer_pb2.WatchKataResponse, None] | None:
        """Return what yields what another machine sends of a kata; None if none owns it.

        While it yields, it raises KataMoved, KataNotFound, KataDamaged or StorerUnavailable.
        """
        if self._forwarding is None:
            return None
        parts = self._forwarding.parts_from_elsewhere(_WATCH, request, request.kata_id)
        return None if parts is None else _parsed(parts, request.kata_id)


async def _parsed(
    parts: AsyncGenerator[bytes, None], kata_id: str
) -> AsyncGenerator[storer_pb2.WatchKataResponse, None]:
    try:
        async for part in parts:
            yield storer_pb2.WatchKataResponse.FromString(part)
    except grpc.aio.AioRpcError as error:
        raise _error(error, kata_id) from error
    finally:
        await parts.aclose()
    raise KataMoved(kata_id)  # a watch does not end by itself


def _error(error: grpc.aio.AioRpcError, kata_id: str) -> DojoError:
    """Return the domain's error for a refusal by another machine."""
    if reason_of(error) in _STOPPED:
        return KataMoved(kata_id)
    found = error_of_kata(error, kata_id, "the copy of another machine")
    return found or StorerUnavailable(str(error.details()))
