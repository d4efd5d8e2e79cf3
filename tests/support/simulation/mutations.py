"""Defects of the code that owns katas, one each: a simulation has to notice every one."""

# ruff: noqa: ARG001 - what stands for a method has its arguments

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from dojo.errors import KataMoved
from dojo.etcd import rpc_pb2
from dojo.etcd.client import OutcomeUnknown
from storer.cluster.editions import Editions
from storer.cluster.ledger import SharedLedger
from storer.cluster.owners import Held, Owners
from storer.cluster.shared_installation import SharedInstallation

Defect = Callable[[], AbstractContextManager[object]]


def _owner_is_no_condition() -> AbstractContextManager[object]:
    def write(
        self: Owners,
        kata_id: str,
        held: Held | None,
        changes: Iterable[rpc_pb2.RequestOp],
        *more: rpc_pb2.Compare,
    ) -> int:
        if held is None:
            raise KataMoved(kata_id)
        revision = self._etcd.transact(more, changes)
        if revision is None:
            raise KataMoved(kata_id)
        return revision

    return patch.object(Owners, "write", write)


def _unknown_is_taken_for_refused() -> AbstractContextManager[object]:
    """Go on after a transaction of unknown outcome as if it had not happened."""
    write = Owners.write

    def without_doubt(self: Owners, kata_id: str, held: Held | None, *rest: Any) -> int:
        try:
            return write(self, kata_id, held, *rest)
        except OutcomeUnknown:
            if held is not None:
                held.is_doubtful = False
            raise

    return patch.object(Owners, "write", without_doubt)


def _own_folder_is_always_current() -> AbstractContextManager[object]:
    """Take what is here of a kata for current if this machine ever owned it."""

    def continues(self: SharedInstallation, held: Held, folder: Path) -> bool:
        return (folder / ".owner").exists()

    return patch.object(SharedInstallation, "continues", continues)


def _folder_of_any_owner_before() -> AbstractContextManager[object]:
    """Take a folder for current if this machine owned the kata just before, by whatever token."""

    def continues(self: SharedInstallation, held: Held, folder: Path) -> bool:
        return held.before is not None

    return patch.object(SharedInstallation, "continues", continues)


def _trims_too_much() -> AbstractContextManager[object]:
    """Trim the newest light too, which the archive may lack."""
    trim = SharedLedger.trim

    def trim_more(
        self: SharedLedger, kata_id: str, token: int, newest: Mapping[str, Any], *rest: Any
    ) -> int:
        more = {avatar: at._replace(number=at.number + 1) for avatar, at in newest.items()}
        return trim(self, kata_id, token, more, *rest)

    return patch.object(SharedLedger, "trim", trim_more)


@contextmanager
def _one_edition() -> Iterator[None]:
    """Archive every owner's copies in the same edition, and trim by it."""
    trim = SharedLedger.trim

    def of(self: Editions, kata_id: str) -> int:
        return 1

    def trim_all(self: SharedLedger, kata_id: str, token: int, *rest: Any) -> int:
        return trim(self, kata_id, self._owners.here(kata_id).token, *rest)

    with patch.object(Editions, "of", of), patch.object(SharedLedger, "trim", trim_all):
        yield


def _unanswered_is_taken_for_not_written() -> AbstractContextManager[object]:
    """Write under the same names after the archive did not answer."""

    def unanswered(self: Editions, kata_id: str) -> None:
        pass

    return patch.object(Editions, "unanswered", unanswered)


DEFECTS: Mapping[str, Defect] = {
    "what an owner writes is not conditional on owning": _owner_is_no_condition,
    "an unknown outcome is taken for a refusal": _unknown_is_taken_for_refused,
    "a folder is current if there is one": _own_folder_is_always_current,
    "a folder is current by any token of this machine": _folder_of_any_owner_before,
    "more is trimmed than the archive has": _trims_too_much,
    "all owners archive in one edition": _one_edition,
    "what the archive did not answer is written again": _unanswered_is_taken_for_not_written,
}
