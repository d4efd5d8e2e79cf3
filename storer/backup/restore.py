"""Restore a kata from a tar such as `storer.backup.download` makes. The tar is untrusted."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dojo import kata_ids, limits
from dojo.budget import Budget, BudgetExceeded
from dojo.errors import InvalidArgument
from dojo.shares import Holding
from storer.kata.request import Request
from storer.katas.repository import Avatars, Katas
from storer.tar.members import Member
from storer.tar.untrusted_reader import InvalidKata, LeftOut, Tar, translate_tar_errors

_MAX_OUTER_FOLDERS = 3  # members that can precede the kata's folder, such as `.` and `49`


@dataclass(frozen=True)
class Restored:
    """A kata that was restored: its id, its avatars, and what of the tar it has not."""

    kata_id: str
    avatars: Avatars
    left_out: LeftOut


def restore(
    katas: Katas,
    pieces: Iterator[bytes],
    *,
    overwrite: bool,
    request: Callable[[], Request | None] | None = None,
) -> Restored:
    """Create a kata from the tar whose bytes are `pieces`.

    `pieces` must raise if the stream is incomplete: then nothing is restored. `request` is called
    when all of them are read. Raises what `Katas.restore` raises, InvalidArgument or
    MemoryExhausted.
    """
    with Holding() as holding:
        with translate_tar_errors():
            tar = Tar(pieces, holding)
            kata_id = _kata_id(tar)

        def fill(folder: Path) -> None:
            with translate_tar_errors():
                _unpack(tar, folder)

        found = katas.restore(kata_id, fill, overwrite=overwrite, request=request)
        return Restored(kata_id, found, tar.left_out)


class KataBudget:
    """The members and bytes that a kata may unpack to."""

    def __init__(self) -> None:
        self._budget = Budget(max_bytes=limits.MAX_KATA_BYTES, max_entries=limits.MAX_KATA_MEMBERS)

    def take(self, member: Member) -> None:
        """Take a member; raise InvalidKata if the members are too many or too large."""
        try:
            self._budget.take_entry()
            self._budget.take_bytes(member.size)
        except BudgetExceeded as error:
            raise InvalidKata(f"the tar holds {error.reason}") from error


def _kata_id(tar: Tar) -> str:
    """Return the kata's id, from the names of the first members."""
    for _ in range(_MAX_OUTER_FOLDERS):
        if tar.member is None or not tar.member.isdir() or len(tar.parts()) >= 2:
            break
        tar.advance()
    if tar.member is None:
        raise InvalidArgument("data", "the tar holds no kata")
    outer, inner = (*tar.parts(), "", "")[:2]
    if len(outer) != len(kata_ids.outer(outer)) or not kata_ids.is_whole(outer + inner):
        raise InvalidKata(f"{tar.member.shown} does not begin with a kata's folder (49/3A06504A)")
    return outer + inner


def _unpack(tar: Tar, folder: Path) -> None:
    """Unpack the kata's files into `folder`, which is empty, and read the tar to its end."""
    outer, inner = tar.parts()[:2]
    budget = KataBudget()
    while tar.member is not None:
        parts = tar.parts()
        budget.take(tar.member)
        if len(parts) < 2 or (parts[0], parts[1]) != (outer, inner):
            raise InvalidKata(f"{tar.member.shown} is outside of {outer}/{inner}")
        if len(parts) > 2:
            tar.unpack(folder, PurePosixPath(*parts[2:]))
        tar.advance()
    tar.finish_kata()
    tar.finish()
