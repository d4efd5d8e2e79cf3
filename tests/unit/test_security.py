"""Every promise in docs/security.md names tests, and these exist."""

import ast
import re

import pytest

from support.paths import TOP

PROMISES = [
    line for line in (TOP / "docs/security.md").read_text().splitlines() if "`tests/" in line
]


def shown_by(row: str) -> list[tuple[str, str]]:
    """Return the tests that a row of the table names, as pairs of file and function."""
    return re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)


def defined_in(file: str) -> set[str]:
    """Return the names of a file's tests."""
    module = ast.parse((TOP / file).read_text())
    return {each.name for each in module.body if isinstance(each, ast.FunctionDef)}


@pytest.mark.parametrize("row", PROMISES, ids=lambda row: row.split("|")[1].strip())
def test_every_test_that_a_promise_names_exists(row: str) -> None:
    shown = shown_by(row)
    assert len(shown) == row.count("`tests/")
    assert shown
    for file, test in shown:
        assert test.startswith("test_")
        assert test in defined_in(file), f"{file}::{test}"


def test_every_promise_names_a_test() -> None:
    text = (TOP / "docs/security.md").read_text()
    table = text.split("## What is promised")[1].split("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("|")][2:]
    assert rows == PROMISES
