"""VerifyKatas of several machines: each verifies the katas that it has, all at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

from cyberdojo.storer.v1 import storer_pb2
from dojo.errors import DojoError, MachineUnavailable
from storer.api.peers import Peers
from storer.cluster.installation import Installation

_Request = storer_pb2.VerifyKatasRequest
_Response = storer_pb2.VerifyKatasResponse

# What arrives is passed on one by one, so that a slow caller slows the machines down.
_WAITING = 1


async def answer_everywhere(
    installation: Installation,
    peers: Peers,
    own: Callable[[_Request], AsyncIterator[_Response]],
    request: _Request,
) -> AsyncGenerator[_Response, None]:
    """Yield the responses of VerifyKatas for the katas of all machines, with one summary.

    `own` verifies those of this machine, and the archive. Raises what it raises; MachineUnavailable
    at the end, without a summary, if another machine did not verify its katas.
    """
    others = [node for node in installation.machines() if node.name != installation.own_name]
    parts: list[AsyncIterator[_Response]] = []
    for node in others:
        theirs = [each for each in request.kata_ids if installation.owner(each) == node.name]
        if theirs or not request.kata_ids:
            parts.append(peers.verify(node, _for_other(request, theirs)))
    parts.append(own(request))
    totals, lacking = _Totals(len(parts)), list[MachineUnavailable]()
    async with aclosing(_as_they_come(parts, lacking)) as arriving:
        async for number, response in arriving:
            if (told := totals.take(number, response)) is not None:
                yield told
    if lacking:
        raise lacking[0]
    yield _Response(summary=totals.summary)


def _for_other(request: _Request, theirs: list[str]) -> _Request:
    """Return the request for another machine; this one verifies the archive."""
    changed = _Request()
    changed.CopyFrom(request)
    changed.skip_archive = True
    del changed.kata_ids[:]
    changed.kata_ids.extend(theirs)
    return changed


async def _as_they_come(
    parts: list[AsyncIterator[_Response]], lacking: list[MachineUnavailable]
) -> AsyncGenerator[tuple[int, _Response], None]:
    """Yield what all yield, each with the number of what yields it.

    Other machines that fail end up in `lacking`.
    """
    arrived: asyncio.Queue[tuple[int, _Response | DojoError | None]] = asyncio.Queue(_WAITING)

    async def pass_on(number: int, each: AsyncIterator[_Response]) -> None:
        end = None
        try:
            async for response in each:
                await arrived.put((number, response))
        except DojoError as error:
            end = error
        await arrived.put((number, end))

    tasks = [asyncio.create_task(pass_on(*each)) for each in enumerate(parts)]
    try:
        going = len(parts)
        while going:
            number, response = await arrived.get()
            if isinstance(response, _Response):
                yield number, response
                continue
            going -= 1
            if isinstance(response, MachineUnavailable):
                lacking.append(response)
            elif response is not None:
                raise response
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Totals:
    """Adds up how far all machines are, and what they looked at."""

    def __init__(self, count: int) -> None:
        self.summary = storer_pb2.VerifySummary()
        self._progress = [storer_pb2.VerifyProgress() for _ in range(count)]

    def take(self, number: int, response: _Response) -> _Response | None:
        """Return what the caller is told of a response; None if nothing yet."""
        if response.HasField("summary"):
            for field, value in response.summary.ListFields():
                setattr(self.summary, field.name, getattr(self.summary, field.name) + value)
            return None
        if not response.HasField("progress"):
            return response
        self._progress[number] = response.progress
        return _Response(
            progress=storer_pb2.VerifyProgress(
                kata_id=response.progress.kata_id,
                done_count=sum(each.done_count for each in self._progress),
                total_count=sum(each.total_count for each in self._progress),
            )
        )
