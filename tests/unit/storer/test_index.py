"""The index of start points: an invalid start point is reported by its file and key."""

from pathlib import Path
from typing import Any

import pytest

from support.storer.start_points import FILES, SCRIPT, a_language, index, own, write

__all__ = ["own"]  # a fixture

PATTERN = {"colour": "red", "pattern": "x", "stream": "stdout"}


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"display_name": ""}, "pascal/manifest.json: display_name: is required"),
        ({"image_name": ""}, "pascal/manifest.json: image_name: is required"),
        ({"image_name": 5}, "pascal/manifest.json: image_name: 5 is not a str"),
        ({"max_seconds": 61}, "pascal/manifest.json: max_seconds: 61 is not from 1 to 60"),
        ({"tab_size": "4"}, "pascal/manifest.json: tab_size: '4' is not a int"),
        ({"visible_filenames": "a"}, "pascal/manifest.json: visible_filenames: is not a list"),
        ({"visible_filenames": [SCRIPT, "not.here"]}, "pascal/not.here: No such file"),
        ({"visible_filenames": ["hiker.pas"]}, f"visible_filenames: {SCRIPT} is missing"),
        ({"visible_filenames": [SCRIPT, "../secret"]}, "'../secret': the name has the part '..'"),
        ({"visible_filenames": [SCRIPT, "link"]}, "pascal/link: leads out of the start point"),
        ({"highlight_filenames": ["x"]}, "highlight_filenames: 'x' is not a visible file"),
        ({"rag_lambda": "not.rb"}, "pascal/manifest.json: not.rb: No such file"),
        ({"rag_lambda": 5}, "pascal/manifest.json: rag_lambda: is not a filename"),
        ({"rag_lambda": "long.rb"}, "rag_lambda: long.rb: 16385 bytes are more than 16384"),
        ({"rag_lambda": "latin.rb"}, "rag_lambda: latin.rb: is not UTF-8"),
        (
            {"colour_rule": {"patterns": [{**PATTERN, "colour": "blue"}]}},
            "colour_rule.patterns.patterns[0].colour: is not red, amber or green",
        ),
        (
            {"colour_rule": {"patterns": [PATTERN, {**PATTERN, "pattern": "("}]}},
            "colour_rule.patterns.patterns[1].pattern: missing )",
        ),
        ({"colour_rule": []}, "pascal/manifest.json: colour_rule: is not {patterns:"),
    ],
)
def test_an_invalid_start_point_is_reported_by_file_and_key(
    own: Path, keys: dict[str, Any], says: str
) -> None:
    (own / "secret").write_text("secret")
    (own / "languages/pascal/link").symlink_to("../../secret")
    (own / "languages/pascal/long.rb").write_text("#" * 16385)
    (own / "languages/pascal/latin.rb").write_bytes(b"# caf\xe9")
    write(own / "languages/pascal", a_language(**keys))
    done = index(own / "languages", own / "exercises")
    assert done.returncode == 1
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (own / "languages/index.json").exists()
    assert not (own / "exercises/index.json").exists()


def test_all_problems_are_reported_at_once(own: Path) -> None:
    write(own / "languages/same", a_language(), FILES)
    write(own / "languages/broken", {})
    (own / "languages/none").mkdir()
    (own / "languages/torn").mkdir()
    (own / "languages/torn/manifest.json").write_text("{")
    done = index(own / "languages")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 4
    for expected in ("broken/manifest.json: vis", "none/manifest.json: is missing", "torn/man"):
        assert any(expected in line for line in lines), lines
    (line,) = [each for each in lines if "same/manifest.json: display_name: " in each]
    assert line.endswith("languages/pascal is called 'Pascal, own' too")


def test_the_folders_have_to_be_called_languages_or_exercises(own: Path) -> None:
    for folders in ([], [own]):
        done = index(*folders)
        assert done.returncode == 2
        assert "languages" in done.stderr
    assert "No such file" in index(own / "nowhere/languages").stderr
