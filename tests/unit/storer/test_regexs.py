"""Regular expressions in Ruby's dialect: what is refused without asking Ruby."""

import pytest

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
