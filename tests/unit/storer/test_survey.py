"""The survey finds what is on the disk, without an engine and without calls."""

import os
from pathlib import Path
from typing import Any

import pytest

from dojo import free_space
from dojo.engine.data_containers import DataContainers
from dojo.metrics import REGISTRY
from dojo.naming import Namespace
from storer.backup.catalog import Catalog
from storer.fs.checkpointer import Checkpointer
from storer.kata import avatar
from storer.kata.avatar import Avatar
from storer.kata.lights import LightsCache
from storer.katas.damaged_katas import DamagedKatas
from storer.workers.survey import Survey
from support.storer.storing import STARTED

IDS = ("493A06504A", "7C4E19D2B6")


@pytest.fixture
def data_containers(tmp_path: Path) -> DataContainers:
    """Two katas, and the volume of another namespace; nothing here asks the engine."""
    no_engine: Any = None
    made = DataContainers(no_engine, Namespace("test-survey"), tmp_path)
    for kata_id in IDS:
        made.folder(kata_id).mkdir(parents=True)
    (tmp_path / f"another-kata-{IDS[0]}").mkdir()
    return made


def survey(data_containers: DataContainers, checkpointer: Checkpointer, **disks: Path) -> Survey:
    damaged = DamagedKatas(data_containers)
    return Survey(data_containers, checkpointer, Catalog(data_containers), damaged, disks)


def value(name: str, **labels: str) -> float:
    found = REGISTRY.get_sample_value(name, labels)
    assert found is not None
    return found


def test_katas_and_disks_are_counted_and_an_absent_disk_is_no_number(
    data_containers: DataContainers, tmp_path: Path
) -> None:
    survey(data_containers, Checkpointer(), volumes=tmp_path, archive=tmp_path / "away").look()
    assert value("cyber_dojo_data_containers") == len(IDS)
    size = value("cyber_dojo_disk_size_bytes", disk="volumes")
    assert size == free_space.size_bytes(tmp_path)
    assert 0 < value("cyber_dojo_disk_free_bytes", disk="volumes") <= size
    absent = value("cyber_dojo_disk_free_bytes", disk="archive")
    assert absent != absent  # noqa: PLR0124 - only what is no number differs from itself
    assert value("cyber_dojo_survey_timestamp_seconds") > 0


def test_the_last_backup_is_the_newest_that_is_complete(data_containers: DataContainers) -> None:
    found = survey(data_containers, Checkpointer())
    found.look()
    assert value("cyber_dojo_last_backup_timestamp_seconds") == 0
    folder = data_containers.backups_folder
    folder.mkdir(parents=True)
    for number, ending in enumerate((".json", ".json", ".unfinished")):
        path = folder / f"{number:010}-{'0' * 16}{ending}"
        path.touch()
        os.utime(path, (1000 + number, 1000 + number))
    found.look()
    assert value("cyber_dojo_last_backup_timestamp_seconds") == 1001


def test_logs_of_dead_processes_are_foreign_until_they_are_replayed(
    data_containers: DataContainers,
) -> None:
    folder = data_containers.folder(IDS[0]) / "whale"
    folder.mkdir()
    avatar.start(folder, IDS[0], "whale", {"a.txt": b"a"}, STARTED)
    (data_containers.folder(IDS[1]) / "zebra").mkdir()
    checkpointer = Checkpointer()
    found = survey(data_containers, checkpointer)
    found.walk()
    assert value("cyber_dojo_write_ahead_logs", state="foreign") == 1
    assert (checkpointer.count(doubtful=True), checkpointer.count(doubtful=False)) == (0, 0)
    Avatar(
        *(folder, IDS[0], "whale", lambda: STARTED),
        cache=LightsCache(),
        checkpointer=checkpointer,
    ).lights()
    found.walk()
    assert value("cyber_dojo_write_ahead_logs", state="foreign") == 0
    assert (checkpointer.count(doubtful=True), checkpointer.count(doubtful=False)) == (1, 0)
    checkpointer.checkpoint()
    assert checkpointer.count(doubtful=True) == 0
