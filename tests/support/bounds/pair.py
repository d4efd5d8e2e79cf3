"""The services that cases send the double of a bound to."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc

from cyberdojo.runner.v1 import runner_pb2_grpc
from dojo import limits
from dojo.engine.data_containers import DataContainers
from support.fuzz.watched import World
from support.kata_folders import Kata
from support.refusals import code_to_judge
from support.storer.storing import Katas

# A call of the double may take this long on a busy machine.
SECONDS = 240
# Files of a message that waits for no larger ones.
QUICK_BYTES = limits.QUICK_MESSAGE_BYTES - 1024**2

OK, RESOURCE_EXHAUSTED = grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED
UNAVAILABLE, INVALID_ARGUMENT = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INVALID_ARGUMENT


@dataclass(frozen=True)
class Pair:
    """A storer and a runner, both under watch, and where they keep katas."""

    world: World
    data_containers: DataContainers

    @property
    def katas(self) -> Katas:
        """The katas behind the storer."""
        return self.world.katas

    @property
    def runner(self) -> runner_pb2_grpc.RunnerServiceStub:
        """A client of the runner."""
        return runner_pb2_grpc.RunnerServiceStub(self.world.runner.channel)

    def kata(self, kata_id: str) -> Kata:
        """Return a kata and its folder."""
        return Kata(kata_id, self.data_containers.folder(kata_id))


# Sends the double of a bound, and asserts how it is answered.
Case = Callable[[Pair], None]


def outcomes(calls: Sequence[Callable[[], object]]) -> Counter[grpc.StatusCode]:
    """Make calls at the same time; count their statuses."""

    def make(call: Callable[[], object]) -> grpc.StatusCode:
        try:
            call()
        except grpc.RpcError as error:
            return code_to_judge(error)
        return OK

    with ThreadPoolExecutor(len(calls)) as callers:
        return Counter(callers.map(make, calls))


def ended(calls: Sequence[Any]) -> Counter[grpc.StatusCode]:
    """Count the statuses of those calls, which were begun as futures, that have ended."""
    found: Counter[grpc.StatusCode] = Counter()
    for call in calls:
        if call.done():
            error = call.exception()
            found[OK if error is None else code_to_judge(error)] += 1
    return found
