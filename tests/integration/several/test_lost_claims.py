"""A machine can lose a kata to another one while it fetches it."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from dojo import kata_ids
from dojo.engine.data_containers import MANIFEST, DataContainers
from storer.archive.directory_store import DirectoryStore
from storer.archive.stored_archive import StoredArchive
from storer.cluster.installation import NO_EDITION, NOTE, Installation, edition_in
from storer.cluster.ledger import Kept
from storer.cluster.owners import Held
from storer.cluster.records import Base
from storer.cluster.shared_installation import SharedInstallation
from storer.katas import fetch
from storer.katas.import_source import KatasDirectory, SaverKatas
from storer.katas.listing import Places
from storer.katas.old_ids import OldIds


class LosesWhatItFetches(Installation):
    """One of several machines. It has lost a kata when it is here: `arrived` does nothing then."""

    is_shared = True

    def claim(self, *_: Any) -> Held:
        return Held(7, None)

    def is_settled(self, _: str) -> bool:
        return False

    def is_here(self, _: str) -> bool:
        return False

    def kept(self, kata_id: str) -> Kept:
        manifest = json.dumps({"id": kata_id, "visible_files": {}}).encode()
        return Kept(Base({MANIFEST: manifest}), None, {})

    def arriving(self, folder: Path) -> None:
        SharedInstallation.arriving(cast("SharedInstallation", self), folder)


def test_what_was_fetched_for_another_machine_is_not_the_newest(
    data_containers: DataContainers, tmp_path: Path
) -> None:
    archive = StoredArchive(DirectoryStore(tmp_path / "archive"), "test")
    saver_katas = SaverKatas()
    places = Places(
        data_containers,
        archive,
        KatasDirectory(None),
        saver_katas,
        OldIds(data_containers, archive, saver_katas),
        LosesWhatItFetches(archive),
    )
    kata_id = kata_ids.new()
    folder = data_containers.folder(kata_id)
    try:
        assert fetch.fetch(places, cast("Any", None), kata_id, importing=True)
        assert (folder / MANIFEST).exists()
        # Without a note, it would be of the time before there were several machines.
        assert (folder / NOTE).exists()
        assert edition_in(folder) == NO_EDITION
    finally:
        with suppress(FileNotFoundError):
            data_containers.delete(kata_id)
