"""A kata that is held, as while it comes from a slow archive, holds up no other kata."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from dojo import locks
from support.storer.calls import ALL_OF_A_KATA, call
from support.storer.storing import Katas, Stub, restore_requests

CALLERS = 80
SECONDS = 60

# Archiving does not wait for a kata that is in use.
WAITING = sorted(set(ALL_OF_A_KATA) - {"ArchiveKata"})


def begin(stub: Stub, rpc: str, request: Message | Iterator[Message]) -> Any:
    """Begin a call; return it."""
    method = getattr(stub, rpc)
    return method.future(request) if hasattr(method, "future") else method(request)


def use_in_every_way(katas: Katas, kata_id: str) -> None:
    """Use a kata as its callers do, with a deadline for each call."""
    for rpc in WAITING:
        if rpc not in {"WatchKata", "DeleteKata"}:
            call(katas.stub, rpc, ALL_OF_A_KATA[rpc](kata_id))
    with katas.watching(kata_id, seconds=SECONDS) as lights:
        next(lights)
    katas.restore(katas.tar(kata_id), overwrite=True)
    katas.delete(kata_id)


@pytest.mark.parametrize("rpc", [*WAITING, "RestoreKata"])
def test_calls_that_wait_for_a_kata_hold_up_no_calls_for_others(
    katas: Katas, folder: Callable[[str], Path], rpc: str
) -> None:
    held, other = katas.started("whale"), katas.started("whale")
    tar = katas.tar(held)
    with locks.locked(folder(held)):
        calls = [
            begin(
                katas.stub,
                rpc,
                restore_requests(tar, overwrite=True)
                if rpc == "RestoreKata"
                else ALL_OF_A_KATA[rpc](held),
            )
            for _ in range(CALLERS)
        ]
        use_in_every_way(katas, other)
        ended = [each for each in calls if each.done()]
        # Only so many restores are received at once: more are to be tried again.
        assert {each.code() for each in ended} <= (
            {grpc.StatusCode.RESOURCE_EXHAUSTED} if rpc == "RestoreKata" else set()
        )
    for each in calls:
        if hasattr(each, "result") and rpc not in {"WatchKata", "DownloadKata", "DownloadPatch"}:
            each.exception(SECONDS)
        each.cancel()
