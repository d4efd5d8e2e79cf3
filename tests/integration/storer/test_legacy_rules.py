"""Legacy katas: the colour rule that they get, and the image that they run in."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cyberdojo.colour.v1 import colour_pb2
from support.services import Service
from support.storer.storing import Katas

PYTEST = "cyberdojofoundation/python_pytest"


def write_language(top: Path, folder: str, display_name: str, image_name: str, red: str) -> None:
    """Write a start point whose rule has one pattern, and index all start points."""
    language = top / "languages" / folder
    language.mkdir(parents=True, exist_ok=True)
    (language / "cyber-dojo.sh").write_text("pytest\n")
    manifest = {
        "display_name": display_name,
        "image_name": image_name,
        "visible_filenames": ["cyber-dojo.sh"],
        "colour_rule": {"patterns": [{"colour": "red", "pattern": red}]},
    }
    (language / "manifest.json").write_text(json.dumps(manifest))
    command = [sys.executable, "-m", "storer.start_points.index", f"{top}/languages"]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def start_points(tmp_path: Path) -> Path:
    """Start points, two of which have the same image."""
    write_language(tmp_path, "a", "A, first", "first/image", "first")
    write_language(tmp_path, "p", "Python, pytest", f"{PYTEST}:1.2", "pytest")
    write_language(tmp_path, "q", "Python, other", PYTEST, "other")
    return tmp_path


@pytest.fixture
def katas(
    start_storer: Callable[..., Service],
    client: Callable[[Service], Katas],
    start_points: Path,
) -> Katas:
    """The katas of a storer with those start points."""
    return client(start_storer(CYBER_DOJO_START_POINTS=str(start_points)))


def pattern(katas: Katas, kata_id: str) -> str:
    """Return the only pattern of a kata's rule; an empty one if the kata has no rule."""
    found = katas.get(kata_id).manifest.colour_rule.patterns.patterns
    return "".join(each.pattern for each in found)


@pytest.mark.parametrize(
    ("image_name", "display_name", "expected"),
    [
        (PYTEST, "Python, pytest", "pytest"),
        (f"{PYTEST}:latest", "Python, pytest", "pytest"),
        (f"{PYTEST}:9@sha256:{'0' * 64}", "Python, pytest", "pytest"),
        (PYTEST, "Python, other", "other"),
        (PYTEST, "A custom name", "other"),  # the first by name
        (f"localhost:5000/{PYTEST}", "Python, pytest", ""),
        ("cyberdojofoundation/unknown", "Python, pytest", ""),
    ],
)
def test_a_kata_without_a_rule_gets_the_rule_of_its_images_start_point(
    katas: Katas, image_name: str, display_name: str, expected: str
) -> None:
    kata_id = katas.create(image_name=image_name, display_name=display_name)
    assert pattern(katas, kata_id) == expected


def test_the_rule_is_not_written_into_the_kata_so_a_better_one_applies_at_once(
    katas: Katas, folder: Callable[[str], Path], start_points: Path
) -> None:
    kata_id = katas.create(image_name="first/image")
    assert pattern(katas, kata_id) == "first"
    assert "colour_rule" not in json.loads((folder(kata_id) / "manifest.json").read_bytes())
    write_language(start_points, "a", "A, first", "first/image", "better")
    assert pattern(katas, kata_id) == "better"


def test_a_kata_with_a_rule_of_its_own_keeps_it(katas: Katas) -> None:
    own = colour_pb2.ColourPattern(colour=colour_pb2.COLOUR_RED, pattern="own")
    rule = colour_pb2.ColourRule(patterns=colour_pb2.ColourPatterns(patterns=[own]))
    assert pattern(katas, katas.create(image_name=PYTEST, colour_rule=rule)) == "own"


def test_a_kata_with_a_ruby_lambda_gets_no_patterns(katas: Katas) -> None:
    rule = colour_pb2.ColourRule(ruby_lambda=colour_pb2.RubyLambda(source="lambda { |o| :red }"))
    kata_id = katas.create(image_name=PYTEST, colour_rule=rule)
    assert katas.get(kata_id).manifest.colour_rule == rule


def test_a_kata_whose_lambda_is_null_gets_a_rule(
    katas: Katas, folder: Callable[[str], Path]
) -> None:
    kata_id = katas.create(image_name=PYTEST, display_name="Python, pytest")
    path = folder(kata_id) / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "red_amber_green": None}))
    assert pattern(katas, kata_id) == "pytest"


def test_katas_are_readable_despite_a_damaged_start_point(katas: Katas, start_points: Path) -> None:
    kata_id = katas.create(image_name="first/image")
    (start_points / "languages" / "a" / "manifest.json").write_text("{")
    assert katas.get(kata_id).manifest.image_name == "first/image"
    assert pattern(katas, kata_id) == ""
