"""The rule of each start point knows every form of result that its framework can print.

`outputs/` has a file for each framework: what it prints when tests fail, err, crash or are not
there, in the formats that its sources have, and the colour that this has to be.
"""

import tomllib
from typing import Any

import pytest

from runner.colour.colour import Colour
from runner.colour.rules import ColourPatterns, Pattern, Stream
from support.paths import TOP
from support.start_point_files import NAMES, manifest

OUTPUTS = TOP / "tests" / "unit" / "runner" / "outputs"
FRAMEWORKS: dict[str, dict[str, Any]] = {
    path.stem: tomllib.loads(path.read_text()) for path in sorted(OUTPUTS.glob("*.toml"))
}
# Every framework can print these.
FORMS = {"passes", "fails", "crash", "not built"}


def cases() -> list[Any]:
    """Return a parameter for each output and each start point that can have it."""
    return [
        pytest.param(name, output, id=f"{name}: {output['form']}, {output.get('what', 'plainly')}")
        for framework in FRAMEWORKS.values()
        for output in framework["output"]
        for name in framework["start_points"]
    ]


def rule(name: str) -> ColourPatterns:
    """Return the rule of a start point."""
    given = [
        Pattern(Colour(each["colour"]), each["pattern"], Stream(each.get("stream", "both")))
        for each in manifest(name)["colour_rule"]["patterns"]
    ]
    return ColourPatterns(given, name)


@pytest.mark.parametrize(("name", "output"), cases())
def test_an_output_has_its_colour(name: str, output: dict[str, str]) -> None:
    stdout, stderr = (output.get(stream, "").encode() for stream in ("stdout", "stderr"))
    assert rule(name).colour(stdout, stderr) == Colour(output["colour"])


@pytest.mark.parametrize("name", NAMES)
def test_each_start_point_has_an_output_of_every_form(name: str) -> None:
    outputs = [
        output
        for framework in FRAMEWORKS.values()
        for output in framework["output"]
        if name in framework["start_points"]
    ]
    assert {output["form"] for output in outputs} >= FORMS
    assert {"red", "amber", "green"} <= {output["colour"] for output in outputs}


def test_each_framework_says_where_its_outputs_come_from() -> None:
    assert [name for name, framework in FRAMEWORKS.items() if not framework["sources"]] == []
