"""Regular expressions in Ruby's dialect: what is refused without asking Ruby."""

import pytest

from dojo import limits
from storer.start_points import regexs

REFUSED = [
    "(",
    "a(b",
    ")",
    "(a))",
    "[",
    "[a",
    "[]",
    "[a[]b]",
    "*",
    "a|*",
    "(+",
    "?",
    "\\",
    "a\\",
    "(?#",
    r"(?#\)",
    r"(?#\\)(?#",
]
TAKEN = [
    *("", "a", r"\(", r"[(]", "[a[bc]d]", "[[:alpha:](]", "[]a]", "]", "a**", "a+?", "a++", "^*"),
    *(r"(?<n>a)\g<n>", r"(?#\))", r"(?x) a # (", r"(?:a|b)*", r"(?<!a)b", r"\h+", "a{,2}", "[^]]"),
    *(
        r"FAILED \(failures=\d+\)",
        r"^\[\s+(\d+) tests successful\s+\]",
        r"coverage/.*\.(html|json)",
    ),
]


@pytest.mark.parametrize("pattern", REFUSED)
def test_a_pattern_that_ruby_refuses_is_refused(pattern: str) -> None:
    assert regexs.fault(pattern)


@pytest.mark.parametrize("pattern", TAKEN)
def test_a_pattern_that_ruby_takes_is_taken(pattern: str) -> None:
    assert regexs.fault(pattern) is None


@pytest.mark.timeout(60)  # hours, if it took the square of the length
@pytest.mark.parametrize(
    "piece", ["(?#", "(?", "[", "[:", "[[", "[^", "\\\\", "(?#a)", "[a]", "(", "(?#\\)", "(?a"]
)
def test_a_long_pattern_is_looked_through_in_the_time_that_its_length_takes(piece: str) -> None:
    regexs.fault(piece * (limits.MAX_MANIFEST_BYTES // len(piece)))
