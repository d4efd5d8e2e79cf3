"""The patterns of a colour rule: which are valid, and that none can stall."""

import pytest

from dojo import patterns
from dojo.patterns import BadPattern


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"^\d+ tests? failed$", b"3 tests failed"),
        (r"(?m)^OK$", b"ran 2\nOK\n"),
        (r"(?s)begin.*end", b"begin\n\nend"),
        ("é", "caf\N{LATIN SMALL LETTER E WITH ACUTE}".encode()),
        (r"\p{L}+", "名".encode()),
    ],
)
def test_a_pattern_is_searched_for_in_bytes(pattern: str, text: bytes) -> None:
    assert patterns.compiled(pattern).search(text)
    assert not patterns.compiled(pattern).search(b"")


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("", "is empty"),
        ("(", "missing"),
        ("a**", "bad repetition"),
        ("[z-a]", "range"),
        (r"(a)\1", "escape"),  # no linear-time search can do this
        ("(?=a)", "perl operator"),
        ("x" * 1001, "1001 bytes are more than 1000"),
        ("é" * 501, "1002 bytes are more than 1000"),
        ("(((a{100}){100}){100})", "repetition"),
    ],
)
def test_an_invalid_pattern_is_refused_with_a_reason(pattern: str, reason: str) -> None:
    with pytest.raises(BadPattern) as caught:
        patterns.compiled(pattern)
    assert reason in str(caught.value)


def test_a_pattern_that_stalls_other_engines_ends_in_time() -> None:
    # Backtracking would take 2 to the 40,000th steps.
    assert not patterns.compiled("^(a|aa)+$").search(b"a" * 40_000 + b"!")
