"""Asks the storer to import a kata that no data-container holds: it may be in the archive."""

from collections.abc import Callable
from typing import TypeVar

import grpc
import structlog

from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from dojo import channels, traces
from dojo.access.watched_files import WatchedFiles
from dojo.errors import (
    DiskFull,
    DojoError,
    KataNotFound,
    MemoryExhausted,
    StorerUnavailable,
)
from dojo.machines.view import View
from dojo.refusals import error_of_kata, reason_of
from dojo.service.settings import BadSettings, CallerSettings

T = TypeVar("T")

_log = structlog.get_logger()

# A large kata from a distant archive takes a while.
_TIMEOUT_SECONDS = 60


class StorerClient:
    """Calls the storer, if the runner has one. Any thread may use it."""

    def __init__(
        self, address: str | None, settings: CallerSettings, view: View | None = None
    ) -> None:
        """`address` is the storer's `host:port`. Without it, no kata can be imported.

        With a `view` this is one of several machines. Raises BadSettings.
        """
        self._address = address
        self._view = view
        if address is not None:

            def connect() -> storer_pb2_grpc.StorerServiceStub:
                return storer_pb2_grpc.StorerServiceStub(channels.open_channel(address, settings))

            # A channel keeps its certificates for ever; calls in progress keep their channel.
            self._stub = WatchedFiles(channels.files_of(settings), connect, BadSettings)

    def import_on_miss(self, kata_id: str, call: Callable[[], T]) -> T:
        """Return what `call` returns. If it raises KataNotFound, import the kata and call again.

        A kata that another machine owned is imported first: what is here of it is old. Raises what
        `call` and `import_kata()` raise.
        """
        if self._view is not None and not self._view.is_ours(kata_id):
            self.import_kata(kata_id)
            self._view.wait_until_ours(kata_id)
        try:
            return call()
        except KataNotFound:
            self.import_kata(kata_id)
        return call()

    def import_kata(self, kata_id: str) -> None:
        """Have the storer import a kata into a data-container.

        Raises KataNotFound if the storer does not have it either; KataDamaged, DiskFull,
        MemoryExhausted or StorerUnavailable.
        """
        if self._address is None:
            raise KataNotFound(
                kata_id,
                "no data-container holds it; if it is archived, call the storer's ImportKata, or "
                "say in CYBER_DOJO_STORER where the storer is",
            )
        try:
            self._stub.get().ImportKata(
                storer_pb2.ImportKataRequest(kata_id=kata_id),
                timeout=_TIMEOUT_SECONDS,
                metadata=traces.metadata(),
            )
        except grpc.RpcError as error:
            raise self._error(kata_id, error) from error
        _log.info("kata imported by the storer", kata=kata_id)

    def _error(self, kata_id: str, error: grpc.RpcError) -> DojoError:
        """Return the domain's error for a refusal of the storer's."""
        if (found := error_of_kata(error, kata_id, "the storer's copy")) is not None:
            return found
        refused = f"kata {kata_id} can't be imported: {error.details()}"
        match reason_of(error):
            case "DISK_FULL":
                return DiskFull(refused)
            case "MEMORY_FULL":
                return MemoryExhausted(refused)
        return StorerUnavailable(f"{self._address}: {refused}")
