"""Where katas are imported from: a katas directory, `49/3A06504A/...`, and a saver's directory.

The storer reads them. It writes in a katas directory only if it is told to remove what it has
imported or deleted, and never in a saver's.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import structlog

from dojo import kata_ids
from dojo.budget import BudgetExceeded
from dojo.errors import KataDamaged
from storer.fs import durable
from storer.kata.details import Details
from storer.katas import from_saver
from storer.katas.tombstones import Tombstones
from storer.saver.directory import SaverDirectory
from storer.saver.files import Damaged

# The end of the name of a kata's folder while it is removed.
_REMOVED = ".removed"

_log = structlog.get_logger()


class KatasDirectory:
    """The katas in a folder, without those that were deleted; there are none if `path` is None."""

    def __init__(
        self,
        path: Path | None,
        tombstones: Tombstones | None = None,
        *,
        removes: bool = False,
    ) -> None:
        """Remove deleted katas from the folder if `removes`, and only hide them if not."""
        self._path = path
        self._tombstones = tombstones
        self.removes = removes

    def folder(self, kata_id: str) -> Path | None:
        """Return the kata's folder, or None if the directory has no such kata."""
        folder = self._folder(kata_id)
        if folder is None or (self._tombstones is not None and self._tombstones.has(kata_id)):
            return None
        return folder

    def hide(self, kata_id: str) -> bool:
        """Keep a kata away that is deleted; return whether the directory has it."""
        is_here = self._folder(kata_id) is not None
        if is_here and self._tombstones is not None:
            self._tombstones.add(kata_id)
        return is_here

    def show(self, kata_id: str) -> None:
        """Give a kata again that was deleted, if the directory still has it."""
        if self._tombstones is not None:
            self._tombstones.remove(kata_id)

    def remove(self, kata_id: str) -> bool:
        """Remove a kata's folder if that is allowed; return whether it is gone.

        Nobody ever finds a part of it. What can't be removed stays, and is logged.
        """
        folder = self._folder(kata_id)
        if folder is None:
            return True
        if not self.removes:
            return False
        removed = folder.with_name(f".{folder.name}{_REMOVED}")
        try:
            folder.rename(removed)
            durable.sync_folder(folder.parent)
            shutil.rmtree(removed)
            with contextlib.suppress(OSError):  # other katas are in it
                folder.parent.rmdir()
        except OSError as error:
            _log.warning("kata stays in the katas directory", kata=kata_id, reason=str(error))
            return False
        _log.info("kata removed from the katas directory", kata=kata_id, path=str(folder))
        return True

    def sweep(self) -> None:
        """Remove what a process that died had begun to remove."""
        if self._path is not None and self.removes:
            for left in self._path.glob(f"[!.]*/.*{_REMOVED}"):
                shutil.rmtree(left)

    def _folder(self, kata_id: str) -> Path | None:
        if self._path is None:
            return None
        folder = self._path / kata_ids.outer(kata_id) / kata_ids.inner(kata_id)
        return folder if folder.is_dir() else None

    def kata_ids(self, prefix: str = "", *, ignore_case: bool = False) -> Iterator[str]:
        """Yield the ids that begin with `prefix`, in order.

        Reads only those outer folders (`49`) that can hold such ids.
        """
        fold = str.lower if ignore_case else str
        wanted = fold(prefix)
        deleted = self._tombstones.ids() if self._tombstones is not None else set()
        for outer in _names(self._path):
            if len(outer) != 2 or not fold(outer).startswith(wanted[:2]):
                continue
            for inner in _names(self._path, outer):
                kata_id = outer + inner
                is_kata = kata_ids.is_whole(kata_id) and kata_id not in deleted
                if is_kata and fold(kata_id).startswith(wanted):
                    yield kata_id


class SaverKatas:
    """The katas that a saver's directory gives, without those that were deleted.

    There are none if `directory` is None.
    """

    def __init__(
        self, directory: SaverDirectory | None = None, tombstones: Tombstones | None = None
    ) -> None:
        self._directory = directory
        self._tombstones = tombstones

    def has(self, kata_id: str) -> bool:
        """Say whether the directory gives a kata."""
        is_deleted = self._tombstones is not None and self._tombstones.has(kata_id)
        return self._has(kata_id) and not is_deleted

    def hide(self, kata_id: str) -> bool:
        """Keep a kata away that is deleted; return whether the directory has it."""
        is_here = self._has(kata_id)
        if is_here and self._tombstones is not None:
            self._tombstones.add(kata_id)
        return is_here

    @property
    def top(self) -> Path | None:
        """The saver's directory."""
        return None if self._directory is None else self._directory.top

    def kata_ids(
        self, prefix: str = "", *, ignore_case: bool = False, after: str = ""
    ) -> Iterator[str]:
        """Yield the ids that begin with `prefix` and come after `after`, in order.

        Whether a kata is one of a group is read for each.
        """
        if self._directory is None:
            return
        fold = str.lower if ignore_case else str
        deleted = self._tombstones.ids() if self._tombstones is not None else set()
        begin, since = (text[: kata_ids.OLD_LENGTH] for text in (prefix, after))
        found = self._directory.old_ids(begin, ignore_case=ignore_case, since=since)
        for kata_id in map(kata_ids.of_old, found):
            is_wanted = kata_id > after and fold(kata_id).startswith(fold(prefix))
            if is_wanted and kata_id not in deleted:
                yield kata_id

    def of_member(self, old_id: str) -> str | None:
        """Return the id of the kata that has the avatar of an old id; None if there is none."""
        group_id = None if self._directory is None else self._directory.group_of(old_id)
        return None if group_id is None else kata_ids.of_old(group_id)

    def of_members(self, prefix: str) -> set[str]:
        """Return the ids of katas with an avatar whose old id begins with `prefix` in any case."""
        if self._directory is None:
            return set()
        found = {kata_ids.of_old(group_id) for _, group_id in self._directory.member_ids(prefix)}
        return {kata_id for kata_id in found if self.has(kata_id)}

    def details(self, kata_id: str) -> Details | None:
        """Return what a list shows of a kata; None if the directory does not give it."""
        old_id = kata_ids.old_of(kata_id)
        if self._directory is None or old_id is None:
            return None
        try:
            return from_saver.details(self._directory, old_id)
        except (Damaged, BudgetExceeded, KataDamaged) as error:
            return Details(problem=str(error))

    def _has(self, kata_id: str) -> bool:
        old_id = kata_ids.old_of(kata_id)
        return self._directory is not None and old_id is not None and self._directory.has(old_id)


def _names(path: Path | None, *inside: str) -> list[str]:
    """Return the names in a folder, in order; none if the folder does not exist."""
    if path is None:
        return []
    try:
        return sorted(os.listdir(path.joinpath(*inside)))
    except (FileNotFoundError, NotADirectoryError):
        return []
