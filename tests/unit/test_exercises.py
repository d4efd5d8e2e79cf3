"""The exercises: each has a manifest, and a text that fits any editor."""

import json
from pathlib import Path
from typing import Any

import pytest

from support.paths import TOP

START_POINTS = TOP / "start_points"
EXERCISES = START_POINTS / "exercises"
NAMES = sorted(path.name for path in EXERCISES.iterdir())
COLUMNS = 72

each_exercise = pytest.mark.parametrize("name", NAMES)


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_bytes())
    return found


def instructions(name: str) -> str:
    return (EXERCISES / name / "instructions").read_bytes().decode()


def test_there_are_enough_to_choose_from() -> None:
    assert len(NAMES) >= 24


@each_exercise
def test_a_manifest_names_the_exercise_and_its_files(name: str) -> None:
    assert manifest(EXERCISES / name) == {
        "display_name": name.replace("_", " "),
        "visible_filenames": ["instructions"],
    }


@each_exercise
def test_an_exercise_has_its_manifest_and_the_files_that_it_names_and_no_others(name: str) -> None:
    folder = EXERCISES / name
    named = {folder / filename for filename in manifest(folder)["visible_filenames"]}
    assert set(folder.rglob("*")) == {folder / "manifest.json", *named}
    assert all(path.is_file() and not path.is_symlink() for path in folder.iterdir())


@each_exercise
def test_instructions_fit_into_an_editor_without_scrolling(name: str) -> None:
    lines = instructions(name).splitlines()
    assert 10 <= len(lines) <= 40
    assert [line for line in lines if len(line) > COLUMNS] == []


@each_exercise
def test_instructions_are_plain_text(name: str) -> None:
    text = instructions(name)
    lines = text.split("\n")
    assert [line for line in lines if line != line.rstrip()] == []
    assert [line for line in lines if not line.replace(" ", "").isprintable()] == []
    assert lines[0], "begins with an empty line"
    assert text == text.rstrip("\n") + "\n"


@each_exercise
def test_instructions_say_what_is_worth_a_test_and_what_comes_next(name: str) -> None:
    lines = instructions(name).splitlines()
    assert lines.count("Worth a test:") == 1
    assert lines.count("When you are done, try:") == 1


def test_no_two_exercises_have_the_same_text() -> None:
    texts: dict[str, str] = {}
    for name in NAMES:
        words = " ".join(instructions(name).split())
        assert texts.setdefault(words, name) == name


def test_no_exercise_has_a_file_in_common_with_a_language() -> None:
    folders = (START_POINTS / "languages").iterdir()
    languages = {name for each in folders for name in manifest(each)["visible_filenames"]}
    exercises = {name for each in NAMES for name in manifest(EXERCISES / each)["visible_filenames"]}
    assert languages
    assert not languages & exercises
