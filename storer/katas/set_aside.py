"""Set a damaged avatar aside when its kata comes in, so that the rest of the kata is usable.

What came of the avatar is kept as it came, where nothing reads it (`storer.kata.damaged`).
Normalizing changes files before it knows whether all are sound: `Originals` has what they were.
"""

import os
import shutil
import stat
from contextlib import closing
from pathlib import Path, PurePosixPath

import structlog

from dojo import visible_files
from dojo.budget import Budget, BudgetExceeded
from dojo.errors import KataDamaged
from dojo.limits import MAX_KATA_BYTES, MAX_KATA_MEMBERS
from dojo.naming import DAMAGED_JSON, SANDBOX
from storer import metrics
from storer.fs import json_files, tree
from storer.fs.json_files import Unreadable
from storer.git import untrusted_repository
from storer.kata import damaged, sandbox
from storer.kata.damaged import DAMAGED, Damage

_DEPTH = 2  # of what came, in the kata's folder: whale/damaged

_log = structlog.get_logger()

_REPOSITORY = {"HEAD", "objects", "refs"}  # git takes a folder that has these for a repository


class Originals:
    """The files of the avatar in `folder` that normalizing removes or replaces, as they came."""

    def __init__(self, folder: Path) -> None:
        self._kept_in = folder.with_name(f".originals-{folder.name}")
        self._removed: list[tuple[Path, Path | None]] = []

    def remove(self, path: Path) -> None:
        """Remove what is at `path`, if anything. Call this before anything is made there, too."""
        kept = self._kept_in / str(len(self._removed)) if os.path.lexists(path) else None
        if kept is not None:
            self._kept_in.mkdir(exist_ok=True)
            path.rename(kept)
        self._removed.append((path, kept))

    def bring_back(self) -> None:
        """Undo every removal, and remove what was made in its place."""
        for path, kept in reversed(self._removed):
            untrusted_repository.remove(path)
            if kept is not None:
                kept.rename(path)

    def forget(self) -> None:
        """Remove the originals that were not brought back."""
        shutil.rmtree(self._kept_in, ignore_errors=True)


def find(folder: Path, kata_id: str) -> Damage | None:
    """Return what is wrong with an avatar that was set aside before its kata was sent here.

    None if the avatar in `folder` was not. Raises KataDamaged if it was, and other files are beside
    what was set aside.
    """
    path = f"{folder.name}/{DAMAGED_JSON}"
    try:
        found = damaged.read(folder)
    except Unreadable as error:
        raise KataDamaged(kata_id, path, str(error)) from error
    if found is not None:
        names = set(os.listdir(folder))
        if not names <= {DAMAGED, DAMAGED_JSON, SANDBOX} or not _is_folder(folder / DAMAGED):
            reason = f"is there, but not with the folder {DAMAGED} and a sandbox alone"
            raise KataDamaged(kata_id, path, reason)
    return found


def keep(folder: Path, kata_id: str, damage: Damage) -> None:
    """Keep an avatar that was set aside before its kata was sent here. Nothing of it is trusted."""
    _finish(folder, kata_id, damage.path, damage.reason)


def set_aside(folder: Path, kata_id: str, error: KataDamaged) -> None:
    """Set the avatar in `folder` aside, for the reason that `error` has.

    Raises KataDamaged if there is more of it than a kata may have.
    """
    came = folder.with_name(f".came-{folder.name}")
    came.mkdir(mode=0o700)
    if _is_folder(folder):
        for path in list(folder.iterdir()):
            if path.name != SANDBOX or not _is_folder(path):
                path.rename(came / path.name)
    else:
        folder.rename(came / folder.name)
        folder.mkdir()
    came.rename(folder / DAMAGED)
    damaged_file = str(error.path).removeprefix(folder.name).lstrip("/")
    _finish(folder, kata_id, damaged_file, error.reason)


def tell(kata_id: str, avatar: str, reason: str) -> None:
    """Log, and count, that an avatar was set aside."""
    metrics.AVATARS_SET_ASIDE.inc()
    _log.warning("avatar set aside", kata=kata_id, avatar=avatar, reason=reason)


def _finish(folder: Path, kata_id: str, path: str, reason: str) -> None:
    _make_inert(folder / DAMAGED, kata_id)
    damaged.write(folder, path, reason)
    if (folder / SANDBOX).exists():
        sandbox.chown(folder / SANDBOX, folder.name)


def _make_inert(top: Path, kata_id: str) -> None:
    """Leave only what a tar of the kata can have, and no settings or programs of git."""
    for repository in _repositories(top):
        untrusted_repository.strip(repository)
    budget = Budget(max_bytes=MAX_KATA_BYTES, max_entries=MAX_KATA_MEMBERS)
    unwanted = []
    try:
        with closing(tree.walk(top)) as entries:
            for entry in entries:
                if stat.S_ISREG(entry.status.st_mode):
                    budget.take_bytes(entry.status.st_size)
                budget.take_entry()
                if not _is_kept(entry):
                    unwanted.append(top / entry.path)
    except BudgetExceeded as error:
        raise KataDamaged(kata_id, f"{top.parent.name}/{DAMAGED}", error.reason) from None
    for each in reversed(unwanted):
        untrusted_repository.remove(each)


def _is_kept(entry: tree.Entry) -> bool:
    """Say whether an entry of what came is a folder or file that a tar of the kata can have."""
    mode, name = entry.status.st_mode, entry.path.name
    is_file = stat.S_ISREG(mode) and not visible_files.is_git_or_dots(name)
    if not (is_file or stat.S_ISDIR(mode)) or tree.is_stray(name):
        return False
    return json_files.is_text(name) and len(entry.path.parts) <= tree.MAX_DEPTH - _DEPTH


def _repositories(top: Path) -> list[Path]:
    """Return the folders in `top` that git would take for repositories."""
    found: dict[PurePosixPath, set[str]] = {}
    with closing(tree.walk(top)) as entries:
        for entry in entries:
            if visible_files.is_git_or_dots(entry.path.name) and stat.S_ISDIR(entry.status.st_mode):
                found.setdefault(entry.path, set()).update(_REPOSITORY)
            elif entry.path.name in _REPOSITORY:
                found.setdefault(entry.path.parent, set()).add(entry.path.name)
    return [top / path for path, names in found.items() if names >= _REPOSITORY]


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
