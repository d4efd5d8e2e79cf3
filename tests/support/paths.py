"""Where the project's own files are, for tests that read them."""

from pathlib import Path

TOP = Path(__file__).parents[2]
TESTS = TOP / "tests"
