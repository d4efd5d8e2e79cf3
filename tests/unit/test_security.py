"""Every promise in docs/security.md and every threat in docs/threats.md names tests that exist."""

import ast
import re
from itertools import chain

import pytest

from support.paths import TOP

TABLES = {"docs/security.md": "## What is promised", "docs/threats.md": "# Threats"}
ROWS = {
    page: [line for line in (TOP / page).read_text().splitlines() if "`tests/" in line]
    for page in TABLES
}


def shown_by(row: str) -> list[tuple[str, str]]:
    """Return the tests that a row of the table names, as pairs of file and function."""
    return re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)


def defined_in(file: str) -> set[str]:
    """Return the names of a file's tests."""
    module = ast.parse((TOP / file).read_text())
    return {each.name for each in module.body if isinstance(each, ast.FunctionDef)}


@pytest.mark.parametrize(
    "row", [*chain(*ROWS.values())], ids=lambda row: row.split("|")[-3].strip()
)
def test_every_test_that_a_row_names_exists(row: str) -> None:
    shown = shown_by(row)
    assert len(shown) == row.count("`tests/")
    assert shown
    for file, test in shown:
        assert test.startswith("test_")
        assert test in defined_in(file), f"{file}::{test}"


@pytest.mark.parametrize("page", TABLES)
def test_every_row_names_a_test(page: str) -> None:
    table = (TOP / page).read_text().split(TABLES[page])[1].split("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("|")][2:]
    assert rows == ROWS[page]
