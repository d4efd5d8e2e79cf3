"""Calls of the services.

A call that fails for a reason of its own raises Refused, and the replay continues with the next
light. A failure that would meet the next call too ends the replay.
"""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import grpc

from dojo.channels import open_channel
from dojo.service.settings import CallerSettings
from replay.errors import ReplayStopped

T = TypeVar("T")

INTERRUPTED = "interrupted"

# An engine that is restarted is back in a minute.
PATIENCE_SECONDS = 120.0
PAUSE_SECONDS = 2.0
CALL_SECONDS = 300.0

_TOO_LARGE = "message larger than max"  # in gRPC's words, with RESOURCE_EXHAUSTED too
# Statuses that say that the service can serve no call at the moment.
_BUSY = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}


class Refused(Exception):
    """A call failed for a reason that says nothing about the next call."""


def channel(address: str, settings: CallerSettings) -> grpc.Channel:
    """Return a channel to a service. Any thread may use it. Raises BadSettings."""
    return open_channel(address, settings)


class Calls:
    """Makes calls, until `stop` is called. Any thread may use it."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._in_progress: set[Any] = set()

    def stop(self) -> None:
        """Cancel the calls in progress, and refuse further ones."""
        self._stopping.set()
        with self._lock:
            in_progress = list(self._in_progress)
        for each in in_progress:
            each.cancel()

    def call(self, call: Callable[..., T], request: object, seconds: float = CALL_SECONDS) -> T:
        """Return a call's answer; raise Refused or ReplayStopped.

        Repeats the call for PATIENCE_SECONDS while the service can serve no call.
        """
        waited = 0.0
        while True:
            try:
                answer: T = self._once(call, request, seconds)
            except grpc.FutureCancelledError:
                raise ReplayStopped(INTERRUPTED) from None
            except grpc.RpcError as error:
                code, details = _of(error)
                if code not in _BUSY or _TOO_LARGE in details:
                    raise Refused(details) from None
                if waited >= PATIENCE_SECONDS:
                    raise ReplayStopped(details) from None
            else:
                return answer
            self._stopping.wait(PAUSE_SECONDS)
            waited += PAUSE_SECONDS

    def _once(self, call: Any, request: object, seconds: float) -> Any:
        with self._lock:
            if self._stopping.is_set():
                raise ReplayStopped(INTERRUPTED)
            future = call.future(request, timeout=seconds)
            self._in_progress.add(future)
        try:
            return future.result()
        finally:
            with self._lock:
                self._in_progress.discard(future)


def _of(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    """Return an error's status and its text."""
    code = error.code()
    details = error.details() or code.name
    return code, details
