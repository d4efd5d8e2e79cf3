"""The colour of a run: which pattern decides, and the reason if no pattern can."""

import pytest

from cyberdojo.colour.v1 import colour_pb2
from support.runner.submissions import AMBER, FAULTY, GREEN, RED, TIMED_OUT, Run

STDOUT, STDERR = colour_pb2.STREAM_STDOUT, colour_pb2.STREAM_STDERR

Pattern = tuple[int, str] | tuple[int, str, int]


def rule(*patterns: Pattern) -> colour_pb2.ColourRule:
    made = colour_pb2.ColourRule()
    made.patterns.SetInParent()
    for colour, pattern, *stream in patterns:
        made.patterns.patterns.add(
            colour=colour, pattern=pattern, stream=stream[0] if stream else 0
        )
    return made


@pytest.mark.parametrize(
    ("script", "patterns", "colour"),
    [
        # The first pattern that matches decides, wherever it matches.
        ("echo passed; echo failed", [(RED, "failed"), (GREEN, "passed")], RED),
        ("echo passed; echo failed", [(GREEN, "passed"), (RED, "failed")], GREEN),
        ("echo failed >&2; echo passed", [(RED, "failed"), (GREEN, "passed")], RED),
        ("echo passed", [(AMBER, "error"), (RED, "failed"), (GREEN, "passed")], GREEN),
        ("echo error; echo passed", [(AMBER, "error"), (GREEN, "passed")], AMBER),
        # No pattern matches, or there are no patterns.
        ("echo nothing", [(RED, "failed"), (GREEN, "passed")], AMBER),
        ("true", [(GREEN, "passed")], AMBER),
        ("echo passed", [], AMBER),
        # The status does not matter.
        ("echo passed; exit 1", [(GREEN, "passed")], GREEN),
        ("echo failed; exit 0", [(RED, "failed")], RED),
        # A pattern is for one stream or for both, but does not match across the two.
        ("echo passed", [(GREEN, "passed", STDERR)], AMBER),
        ("echo passed", [(GREEN, "passed", STDOUT)], GREEN),
        ("echo passed >&2", [(GREEN, "passed", STDOUT)], AMBER),
        ("echo passed >&2", [(GREEN, "passed", STDERR)], GREEN),
        ("echo passed >&2", [(GREEN, "passed")], GREEN),
        ("printf pas; printf sed >&2", [(GREEN, "passed")], AMBER),
        # Lines.
        ("echo a; echo passed; echo b", [(GREEN, "^passed$")], AMBER),
        ("echo a; echo passed; echo b", [(GREEN, "(?m)^passed$")], GREEN),
        ("echo passed", [(GREEN, "^passed\n$")], GREEN),
        ("echo a; echo b", [(GREEN, "a.b")], AMBER),
        ("echo a; echo b", [(GREEN, "(?s)a.b")], GREEN),
        ("echo PASSED", [(GREEN, "(?i)passed")], GREEN),
        # A byte that is not UTF-8 is one character, and NUL is an ordinary character.
        ("printf 'a\\377\\376b'", [(GREEN, "^a..b$")], GREEN),
        ("printf 'a\\377b'", [(GREEN, "^a\\x{fffd}b$")], GREEN),
        ("printf 'a\\000b'", [(GREEN, "^a\\x00b$")], GREEN),
        ("printf 'caf\\303\\251'", [(GREEN, "^café$")], GREEN),
        ("printf '\\342\\230\\203'", [(GREEN, "^.$")], GREEN),
        # Of a long output both ends are searched, where a summary can be, and not the middle.
        ("head -c 900000 /dev/zero; echo passed", [(GREEN, "passed")], GREEN),
        ("echo passed; head -c 900000 /dev/zero", [(GREEN, "passed")], GREEN),
        ("Z='head -c 60000 /dev/zero'; $Z; echo passed; $Z", [(GREEN, "passed")], AMBER),
        ("head -c 51196 /dev/zero; echo passed", [(GREEN, "passed")], GREEN),
    ],
)
def test_the_first_pattern_that_is_found_decides(
    run: Run, script: str, patterns: list[Pattern], colour: int
) -> None:
    response = run(script, colour_rule=rule(*patterns))
    assert (response.colour, response.reason) == (colour, "")


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(a|a)+$", "(a*)*b{3}", "(.*)(.*)(.*)(.*)(.*)c$", "(?:a?){500}a{500}c"]
)
def test_a_pattern_that_stalls_other_engines_ends_in_time_on_a_long_output(
    run: Run, pattern: str
) -> None:
    script = "head -c 51199 /dev/zero | tr '\\000' a; printf !; echo passed >&2"
    response = run(script, colour_rule=rule((RED, pattern), (GREEN, "passed")))
    assert response.colour == GREEN


def test_without_a_rule_the_colour_is_faulty_and_the_reason_says_so(run: Run) -> None:
    response = run("echo tests: passed", colour_rule=colour_pb2.ColourRule())
    assert (response.colour, response.reason) == (FAULTY, "no colour rule was given")
    assert response.stdout.content == b"tests: passed\n"


def test_a_run_that_took_too_long_has_no_other_colour(run: Run) -> None:
    for colour_rule in (rule((GREEN, "passed")), colour_pb2.ColourRule()):
        script = "echo passed; exec sleep 1000"
        response = run(script, max_seconds=1, colour_rule=colour_rule)
        assert response.colour == TIMED_OUT
        assert response.reason == "it took longer than 1 s"
