"""Staging a kata while others use the volume that it is staged in."""

import shutil
from pathlib import Path

import pytest

from dojo.engine.data_containers import DataContainers
from dojo.errors import KataDamaged, LockHeld
from storer.katas import create, publish

ID = "493A06504A"


def stage(folder: Path, error: Exception, *, is_deleted: bool) -> None:
    """Stage a kata in a folder, where something fails, perhaps because the folder is deleted."""
    with publish.staging(folder) as staged, create._told_if_deleted(ID, staged):
        if is_deleted:
            shutil.rmtree(folder)
        raise error


@pytest.mark.parametrize("error", [FileNotFoundError("x"), KataDamaged(ID, "manifest.json", "no")])
def test_what_fails_because_the_kata_is_deleted_says_that(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(LockHeld, match="another call deletes it"):
        stage(tmp_path, error, is_deleted=True)


@pytest.mark.parametrize("error", [PermissionError("x"), KataDamaged(ID, "manifest.json", "no")])
def test_what_fails_for_another_reason_says_that(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)):
        stage(tmp_path, error, is_deleted=False)


class Volume(DataContainers):
    """The data-container of one kata, whose volume is a folder, and which no engine knows."""

    def __init__(self, top: Path) -> None:
        self.top = top

    def folder(self, kata_id: str) -> Path:
        return self.top / kata_id


def test_a_kata_whose_volume_the_engine_removes_late_is_asked_for_again(tmp_path: Path) -> None:
    def fetch() -> None:
        """Begin, and end when the engine comes to removing the volume."""
        containers = Volume(tmp_path)
        containers.folder(ID).mkdir()
        with create.undo_on_error(containers, ID):
            shutil.rmtree(containers.folder(ID))
            (containers.folder(ID) / "manifest.json").write_bytes(b"")

    with pytest.raises(LockHeld, match="its volume was being removed"):
        fetch()
