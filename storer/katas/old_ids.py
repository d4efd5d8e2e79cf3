"""Leads from the old ids of a group's katas, which are avatars here, to the kata of the group.

A group's own old id, and that of a kata that no group has, are the beginning of the kata's id: they
need nothing. For each other old id there is a small file that names the kata: in a volume of the
namespace, which is written when the kata comes in, and in the archive, when the kata is archived.
It is never the truth, which is in the kata's manifest.json: a kata that is brought back from
anywhere writes it again.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import structlog

from dojo import kata_ids
from dojo.engine.data_containers import DataContainers
from dojo.errors import ArchiveUnavailable, DojoError
from storer.archive.archive import Archive
from storer.archive.keys import old_id_path
from storer.fs import durable
from storer.kata.kata import Kata
from storer.katas.import_source import SaverKatas

_MAX_BYTES = 100

_log = structlog.get_logger()


class OldIds:
    """The old ids of avatars, of one namespace. Any thread may use it."""

    def __init__(
        self, containers: DataContainers, archive: Archive, saver_katas: SaverKatas
    ) -> None:
        self._containers = containers
        self._archive = archive
        self._saver_katas = saver_katas

    def note(self, kata_id: str, folder: Path) -> None:
        """Have the old ids of a kata's avatars lead to it. For the holder of the kata's lock.

        Does nothing for a kata that is from no saver. What fails is logged: the kata has its old
        ids, and they are noted the next time that it comes in.
        """
        if kata_ids.old_of(kata_id) is None:
            return
        try:
            found = Kata.detached(folder, kata_id).read_old_ids()
            if found and not self._folder.is_dir():
                namespace = self._containers.namespace
                self._containers.create_plain_volume(namespace.old_ids, "old-ids")
            for old_id in found:
                path = self._folder / old_id_path(old_id)
                before = _read(path)
                if before is not None and before != kata_id and self._containers.exists(before):
                    # Two groups list the same kata. Its people have found it in the first.
                    _log.warning(
                        "old id of two katas", old_id=old_id, kata=kata_id, leads_to=before
                    )
                elif before != kata_id:
                    path.parent.mkdir(exist_ok=True)
                    durable.write(path, f"{kata_id}\n".encode())
        except (DojoError, OSError) as error:
            _log.warning("old ids not noted", kata=kata_id, reason=str(error))

    def find(self, old_id: str) -> str | None:
        """Return the kata that has the avatar of an old id; None if nobody knows one.

        Raises ArchiveUnavailable.
        """
        return (
            _read(self._folder / old_id_path(old_id))
            or self._archive.of_old_id(old_id)
            or self._saver_katas.of_member(old_id)
        )

    def complete(self, prefix: str) -> set[str]:
        """Return the katas that have an avatar whose old id is `prefix`, in any case.

        An archive that does not answer is passed over.
        """
        if len(prefix) != kata_ids.OLD_LENGTH:
            return set()
        found = set(self._noted(prefix.lower()))
        found |= self._saver_katas.of_members(prefix)
        with contextlib.suppress(ArchiveUnavailable):
            found.update(self._archive.complete_old_id(prefix))
        return found

    @property
    def _folder(self) -> Path:
        return self._containers.old_ids_folder

    def _noted(self, lower: str) -> Iterator[str]:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for name in os.listdir(self._folder / lower[:2]):
                if name.startswith(f"{lower}."):
                    kata_id = _read(self._folder / lower[:2] / name)
                    if kata_id is not None:
                        yield kata_id


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            kata_id = file.read(_MAX_BYTES).decode("ascii", "replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return kata_id if kata_ids.is_whole(kata_id) else None
