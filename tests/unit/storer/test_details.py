"""What a list of katas shows, of katas that no import has completed yet."""

import json
import shutil
from pathlib import Path

import pytest

from storer.kata import details
from storer.kata.details import Details
from support.storer.damages import ID, LIGHTS, SOUND, in_folders, in_git, write_kata


@pytest.fixture
def kata(tmp_path: Path) -> Path:
    """A legacy kata with two avatars who ran tests; its folder."""
    return write_kata(tmp_path)


def read(kata: Path) -> Details:
    """Return what a list shows of the kata."""
    found = details.read(kata, ID)
    assert found is not None
    return found


@pytest.mark.parametrize("git", [False, True])
def test_an_avatar_who_never_tested_is_no_problem(kata: Path, *, git: bool) -> None:
    (kata / "bee").mkdir()
    (kata / "whale").mkdir()
    if git:
        tags = kata / "whale/.git/refs/tags"
        tags.mkdir(parents=True)
        (tags / "0").touch()
    found = read(kata)
    assert not found.problem
    assert (found.avatar_count, found.light_count) == (4, len(SOUND) * LIGHTS)


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_list_of_lights_that_is_gone_is_a_problem(kata: Path, *, is_packed: bool) -> None:
    (in_folders(kata) / "increments.json").unlink()
    assert read(kata).problem == "whale/increments.json: is missing"
    shutil.rmtree(kata / "whale")
    whale = in_git(kata)
    (whale / "increments.json").unlink()
    if is_packed:
        tags = whale / ".git/refs/tags"
        lines = [f"{tag.read_text().strip()} refs/tags/{tag.name}\n" for tag in tags.iterdir()]
        (whale / ".git/packed-refs").write_text("".join(lines))
        shutil.rmtree(tags)
    assert read(kata).problem == "whale/increments.json: is missing"


def test_a_light_without_a_time_is_no_problem(kata: Path) -> None:
    path = kata / "wolf/increments.json"
    lights = json.loads(path.read_bytes())
    lights[1]["time"] = None
    path.write_text(json.dumps(lights))
    found = read(kata)
    assert not found.problem
    assert found.light_count == len(SOUND) * LIGHTS
