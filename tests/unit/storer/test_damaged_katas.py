"""What is known of damaged katas, without an engine: from notes, and from what is on the disk."""

import math
from pathlib import Path
from typing import Any

import pytest

from dojo.engine.data_containers import MANIFEST, DataContainers
from dojo.naming import DAMAGED_JSON, Namespace
from storer.katas import damaged_katas
from storer.katas.damaged_katas import DamagedKatas

KATA, OTHER = "493A06504A", "7C4E19D2B6"


@pytest.fixture
def containers(tmp_path: Path) -> DataContainers:
    """Two katas, each with a whale, and the volume for notes; nothing here asks the engine."""
    no_engine: Any = None
    made = DataContainers(no_engine, Namespace("test-damaged"), tmp_path)
    for kata_id in (KATA, OTHER):
        (made.folder(kata_id) / "whale").mkdir(parents=True)
        (made.folder(kata_id) / MANIFEST).touch()
    (tmp_path / made.namespace.damaged / "_data").mkdir(parents=True)
    return made


def set_aside(containers: DataContainers, kata_id: str) -> None:
    (containers.folder(kata_id) / "whale" / DAMAGED_JSON).touch()


def suspects(damaged: DamagedKatas) -> list[str]:
    """Take all suspects."""
    return list(iter(lambda: damaged.next_suspect(0), None))


def test_broken_katas_are_still_known_to_a_storer_that_starts_again(
    containers: DataContainers,
) -> None:
    damaged = DamagedKatas(containers)
    for kata_id in (KATA, OTHER):
        damaged.conclude(kata_id, "manifest.json: is not JSON")
    assert damaged.broken_count() == 2
    damaged.conclude(OTHER, "")
    (containers.volume_root / containers.namespace.damaged / "_data" / "no id").touch()
    again = DamagedKatas(containers)
    assert again.broken_count() == 1
    again.suspect_all_broken()
    assert suspects(again) == [KATA]


def test_a_kata_that_is_met_damaged_is_checked_once_until_it_changes(
    containers: DataContainers,
) -> None:
    damaged = DamagedKatas(containers)
    for _ in range(2):
        damaged.met(KATA, "whale/.git/HEAD")
    assert suspects(damaged) == [KATA]
    damaged.conclude(KATA, "whale/.git/HEAD: is missing")
    damaged.met(KATA, "whale/.git/HEAD")
    damaged.changed(OTHER)
    assert suspects(damaged) == []
    damaged.changed(KATA)
    assert suspects(damaged) == [KATA]
    damaged.conclude(KATA, "")
    damaged.changed(KATA)
    assert suspects(damaged) == []


def test_a_kata_that_changes_while_it_is_checked_is_checked_again(
    containers: DataContainers,
) -> None:
    damaged = DamagedKatas(containers)
    damaged.suspect(KATA)
    assert damaged.next_suspect(0) == KATA
    damaged.changed(KATA)
    damaged.conclude(KATA, "what was there before")
    assert suspects(damaged) == [KATA]


def test_an_avatar_that_was_set_aside_makes_no_kata_suspect(containers: DataContainers) -> None:
    damaged = DamagedKatas(containers)
    set_aside(containers, KATA)
    damaged.met(KATA, "whale/increments.json")
    damaged.met(KATA, containers.folder(KATA) / "whale" / DAMAGED_JSON)
    assert suspects(damaged) == []
    damaged.looked_at_all()
    assert damaged.set_aside_count() == 1


def test_how_many_were_set_aside_is_no_number_until_all_katas_were_looked_at(
    containers: DataContainers,
) -> None:
    set_aside(containers, KATA)
    damaged = DamagedKatas(containers)
    for kata_id in (KATA, OTHER):
        damaged.look(kata_id)
        assert math.isnan(damaged.set_aside_count())
    damaged.looked_at_all()
    assert damaged.set_aside_count() == 1


def test_a_kata_that_was_mended_or_is_gone_counts_no_more_as_set_aside(
    containers: DataContainers,
) -> None:
    damaged = DamagedKatas(containers)
    for kata_id in (KATA, OTHER):
        set_aside(containers, kata_id)
        damaged.look(kata_id)
    damaged.looked_at_all()
    assert damaged.set_aside_count() == 2
    (containers.folder(KATA) / "whale" / DAMAGED_JSON).unlink()
    damaged.changed(KATA)
    assert damaged.set_aside_count() == 1
    (containers.folder(OTHER) / MANIFEST).unlink()  # deleted by a process of another storer
    damaged.looked_at_all()
    assert damaged.set_aside_count() == 0


def test_no_more_suspects_are_kept_than_there_may_be(
    containers: DataContainers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(damaged_katas, "MAX_SUSPECTS", 1)
    damaged = DamagedKatas(containers)
    damaged.suspect(KATA)
    damaged.suspect(OTHER)
    assert suspects(damaged) == [KATA]
