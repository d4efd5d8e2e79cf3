"""What a storer has to do with the other machines of its installation, if there are any.

`Installation` is a storer that is alone: it owns every kata, and keeps nothing elsewhere.
`storer.cluster.shared_installation` is one of several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from dojo.errors import OnlyMachine
from dojo.machines.nodes import Node
from dojo.service.readiness import Readiness
from storer.archive.archive import Archive
from storer.cluster.ledger import Kept
from storer.cluster.owners import Held
from storer.kata.edit import At
from storer.kata.ledger import ALONE, Ledger

# In a kata's folder: the edition of which it is, from when its owner brought it up to date.
NOTE = ".owner"
NO_EDITION = 0

NOTHING = Kept(None, None, {})

# What a storer that is alone holds of each kata.
EVERYTHING = Held(0, None, is_here=True)


class Installation:
    """The installation of a storer that is alone. Any thread may use it."""

    is_shared = False
    ledger: Ledger = ALONE

    def __init__(self, archive: Archive) -> None:
        """Several machines may have written to the archive before."""
        self._archive = archive

    def start(self) -> None:
        """Join the others. Raises EtcdUnavailable."""

    def unready(self) -> Readiness | None:
        """Return why this machine takes no calls; None if it does."""
        return None

    def stop(self) -> None:
        """Leave the others."""

    own_name = ""

    def machines(self) -> list[Node]:
        """Return the machines that live, in the order of their names; none if this is the only one.

        This one is among them.
        """
        return []

    def owners_of_all(self) -> list[str]:
        """Return the name of each kata's owner; "" for a kata that was given up."""
        return []

    def accept_etcd(self) -> int:
        """Have katas written again with an etcd that knows less than the archive.

        Return the number of the generation that begins. Raises EtcdUnavailable or
        ArchiveUnavailable.
        """
        raise OnlyMachine

    def own_ids(self) -> list[str]:
        """Return the ids of the katas that this machine owns, of those that others can take."""
        return []

    def problem(self) -> str:
        """Return what an operator should look at that all machines share; "" for nothing."""
        return ""

    def is_draining(self) -> bool:
        """Say whether this machine takes no more katas."""
        return False

    def drain(self, *, end: bool) -> None:
        """Take no more katas, or take some again."""

    def is_cut_off(self) -> bool:
        """Say whether others take this machine for gone."""
        return False

    def is_here(self, kata_id: str) -> bool:
        """Say whether the kata's folder has the kata, as far as this machine knows."""
        return True

    def is_settled(self, kata_id: str) -> bool:
        """Say whether the kata's folder surely has all of it."""
        return True

    def owner(self, kata_id: str) -> str | None:
        """Return which other machine owns a kata, as far as this one knows; None if none does."""
        return None

    def is_ours(self, kata_id: str) -> bool:
        """Say whether this machine owns a kata, as far as it knows."""
        return True

    def is_in_use(self, kata_id: str) -> bool:
        """Say whether a machine owns a kata, or one gave it up to whoever asks for it next."""
        return False

    def ids(self) -> Iterable[str]:
        """Return the ids of the katas that are in use, on this machine too."""
        return ()

    def claim(self, kata_id: str, exists: Callable[[], bool]) -> Held:
        """Make this machine the owner of a kata; return what it holds then.

        `exists` says whether there is such a kata if nobody owns it. Raises KataNotFound, KataMoved
        or EtcdUnavailable.
        """
        return EVERYTHING

    def continues(self, held: Held, folder: Path) -> bool:
        """Say whether what is in the folder of a claimed kata only lacks what etcd has of it."""
        return True

    def is_superseded(self, kata_id: str, folder: Path) -> bool:
        """Say whether others have all that is in the folder of a kata that this machine owned.

        For the kata's lock's holder. Raises EtcdUnavailable or ArchiveUnavailable.
        """
        return 0 < edition_in(folder) < self._archive.newest_number(kata_id)

    def check(self, kata_id: str) -> None:
        """Raise EtcdBehind if the archive has a kata from a later claim than this machine's."""

    def is_newest(self, kata_id: str, folder: Path) -> bool:
        """Say whether nobody can have more of a kata without an owner than what is in its folder.

        It was never one of the installation's, or this machine had it last. Raises
        ArchiveUnavailable.
        """
        return True

    def kept(self, kata_id: str) -> Kept:
        """Return what the others would need of a kata besides its archived copy."""
        return NOTHING

    def kept_since(self, kata_id: str, held: Held) -> Kept:
        """Return what was kept of a kata and its folder may lack, which continues by this claim.

        Raises KataMoved if the claim is not the newest: the archive may then have what the folder
        lacks.
        """
        return NOTHING

    def create(self, kata_id: str, files: dict[str, bytes]) -> Held | None:
        """Keep a new kata, of these files; return what is held of it, None if the id is taken.

        Raises EtcdUnavailable or EtcdFull: then it may be there all the same.
        """
        return EVERYTHING

    def replace(
        self, kata_id: str, pieces: Callable[[], Iterator[bytes]], held: Held | None = None
    ) -> Held:
        """Keep a kata whole, as a compressed tar, in place of what was kept of it.

        Return what is held of it then. Without `held` the kata is new, or its folder is up to date.
        Raises as `create`, or KataMoved.
        """
        return EVERYTHING

    def arriving(self, folder: Path) -> None:
        """Note that a kata's folder gets what may not be the newest, unless `arrived` says so.

        For its lock's holder, exclusively. Another machine may own the kata by now.
        """

    def arrived(self, kata_id: str, folder: Path, held: Held) -> None:
        """Note that a kata's folder has all that was kept when the kata was claimed.

        For its lock's holder, exclusively. Of an earlier claim nothing is noted.
        """

    def renew(self, kata_id: str, folder: Path) -> None:
        """Have a kata written in another edition if the archive did not answer a write of it.

        For the holder of its lock who archives it. Raises KataMoved or EtcdUnavailable.
        """

    def trim(
        self, kata_id: str, copied: str, newest: Mapping[str, At], options_sha256: str
    ) -> bool:
        """Keep nothing more of what the archive has, as SharedLedger.trim does.

        Return False if that has to be tried again.
        """
        return True

    def delete(self, kata_id: str) -> None:
        """Have nobody own a kata, and keep nothing of it; nobody creates it again meanwhile.

        For the holder of the kata's lock, who deletes the kata then, and calls `deleted`. Raises
        KataMoved or EtcdUnavailable.
        """

    def deleted(self, kata_id: str) -> None:
        """Note that a kata is gone everywhere."""

    def unfinished_deletions(self) -> Iterable[str]:
        """Yield the ids of katas that somebody was deleting who died; the caller deletes each."""
        return ()

    def give_up(self, kata_id: str) -> None:
        """Have nobody own a kata, so that the next machine that is asked for it does.

        For the kata's lock's holder. Raises as `delete`.
        """

    def release(self, kata_id: str) -> None:
        """Have nobody own a kata, which the archive has as it is. Raises as `delete`."""


def edition_in(folder: Path) -> int:
    """Return the edition of which a kata's folder is; 0 if it is of none."""
    try:
        return int((folder / NOTE).read_text("ascii"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return NO_EDITION
