"""The parts of a RunStream: what happens to a run, and its output, collected into pieces."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import suppress

from cyberdojo.runner.v1 import runner_pb2

# How long output is collected before it is sent. The first piece goes at once.
PIECE_SECONDS = 0.02


class StreamParts:
    """What a stream still has to send before its result. Belongs to the event loop.

    `add_output` may be called by any thread; a lock guards what was collected. The limit of a run's
    output bounds that.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._outputs: dict[str, bytearray] = {}
        self._states: list[runner_pb2.RunStreamResponse] = []
        self._ready, self._ended = asyncio.Event(), asyncio.Event()

    def add_output(self, name: str, data: bytes) -> None:
        """Add output of the stream `out` or `err`."""
        with self._lock:
            is_first = not self._outputs
            self._outputs.setdefault(name, bytearray()).extend(data)
        if is_first:
            self._loop.call_soon_threadsafe(self._ready.set)

    def add_waiting(self, ahead: int) -> None:
        """Add that the run waits, and how many runs are ahead of it."""
        waiting = runner_pb2.RunWaiting(ahead=ahead)
        self._states = [runner_pb2.RunStreamResponse(waiting=waiting)]  # an earlier one is stale
        self._ready.set()

    def add_started(self) -> None:
        """Add that the run has started."""
        started = runner_pb2.RunStreamResponse(started=runner_pb2.RunStarted())
        self._states.append(started)
        self._ready.set()

    def end(self) -> None:
        """End the iteration when all parts have been sent."""
        self._ended.set()
        self._ready.set()

    async def __aiter__(self) -> AsyncIterator[runner_pb2.RunStreamResponse]:
        """Yield the parts: states at once, output in pieces."""
        while True:
            await self._ready.wait()
            self._ready.clear()
            is_last = self._ended.is_set()
            states, self._states = self._states, []
            with self._lock:
                outputs, self._outputs = self._outputs, {}
            for state in states:
                yield state
            for name, data in outputs.items():
                yield _output(name, bytes(data))
            if is_last:
                return
            if outputs:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._ended.wait(), PIECE_SECONDS)


def _output(name: str, data: bytes) -> runner_pb2.RunStreamResponse:
    if name == "out":
        return runner_pb2.RunStreamResponse(stdout=data)
    return runner_pb2.RunStreamResponse(stderr=data)
