"""Our custom start points: each is as it should be, and its instructions fit any editor."""

from typing import Any

import pytest

from storer.start_points import checks, start_point
from storer.start_points.checks import Findings
from storer.start_points.files import FolderFiles
from storer.start_points.folders import MANIFEST
from support.paths import TOP

CUSTOM = TOP / "start_points" / "custom"
NAMES = sorted(path.name for path in CUSTOM.iterdir())
COLUMNS = 72

each_one = pytest.mark.parametrize("name", NAMES)


def read(name: str) -> Any:
    """Return the manifest of a custom start point, as the storer serves it."""
    return start_point.read(FolderFiles(CUSTOM / name), start_point.CUSTOM)


def test_there_is_one_for_a_newcomer_to_see() -> None:
    assert NAMES


@each_one
def test_nothing_is_wrong_with_it_and_it_has_no_files_that_nobody_gets(name: str) -> None:
    folder = CUSTOM / name
    assert checks.check(FolderFiles(folder), start_point.CUSTOM) == Findings()
    files = {path for path in folder.rglob("*") if path.is_file()}
    assert files == {folder / MANIFEST, *(folder / each for each in read(name).visible_files)}


@each_one
def test_a_menu_shows_its_instructions_which_fit_into_an_editor(name: str) -> None:
    found = read(name)
    text = start_point.instructions(found, start_point.CUSTOM).decode()
    assert text.encode() == found.visible_files["instructions"]
    lines = text.splitlines()
    assert 10 <= len(lines) <= 40
    assert [line for line in lines if len(line) > COLUMNS or line != line.rstrip()] == []


@each_one
def test_its_image_is_that_of_a_language(name: str) -> None:
    image = read(name).image_name
    languages = (TOP / "start_points/languages").iterdir()
    known = {
        start_point.read(FolderFiles(folder), start_point.LANGUAGES).image_name
        for folder in languages
    }
    assert image in known
