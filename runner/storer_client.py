"""Asking the storer for a kata that no data-container holds: it may be in the archive."""

from collections.abc import Callable
from typing import TypeVar

import grpc
import structlog

from cyberdojo.storer.v1 import storer_pb2, storer_pb2_grpc
from dojo.errors import DojoError, Exhausted, KataDamaged, KataNotFound, StorerUnavailable

T = TypeVar("T")

_log = structlog.get_logger()

# A large kata takes a while, from an archive that is far away.
_SECONDS = 60


class Bringing:
    """Has the storer bring katas into data-containers. Any thread may use it."""

    def __init__(self, storer: str | None) -> None:
        """Ask the storer at this `host:port`; without one nothing is brought."""
        self._storer = storer
        self._stub = (
            storer_pb2_grpc.StorerServiceStub(grpc.insecure_channel(storer)) if storer else None
        )

    def with_kata(self, kata_id: str, function: Callable[[], T]) -> T:
        """Return what `function` does; if it finds no kata, have it brought and try once more.

        Raises KataNotFound if the storer has no such kata either, and what else it says.
        """
        try:
            return function()
        except KataNotFound:
            self._bring(kata_id)
        return function()

    def _bring(self, kata_id: str) -> None:
        if self._stub is None:
            raise KataNotFound(
                kata_id,
                "no data-container holds it; if it is archived, call the storer's ImportKata, or "
                "say in CYBER_DOJO_STORER where the storer is",
            )
        try:
            self._stub.ImportKata(storer_pb2.ImportKataRequest(kata_id=kata_id), timeout=_SECONDS)
        except grpc.RpcError as error:
            raise self._error(kata_id, error.code(), error.details()) from error
        _log.info("kata brought by the storer", kata=kata_id)

    def _error(self, kata_id: str, code: grpc.StatusCode, details: str | None) -> DojoError:
        """Return the error that the storer met, as one of ours."""
        match code:
            case grpc.StatusCode.NOT_FOUND:
                return KataNotFound(kata_id)
            case grpc.StatusCode.DATA_LOSS:
                return KataDamaged(kata_id, "the storer's copy", str(details))
            case grpc.StatusCode.RESOURCE_EXHAUSTED:
                return Exhausted(f"kata {kata_id} can't be brought: {details}")
        return StorerUnavailable(f"{self._storer}: kata {kata_id} can't be brought: {details}")
