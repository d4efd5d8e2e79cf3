"""Paths of the project's files, for tests that read them."""

from pathlib import Path

TOP = Path(__file__).parents[2]
TESTS = TOP / "tests"
