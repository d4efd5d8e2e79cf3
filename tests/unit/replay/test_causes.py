"""The cause of another colour is the line that explains it, the same for all lights of a cause."""

import pytest

from replay.causes import SAME_OUTPUT, cause
from replay.outcomes import Ran
from replay.report import counts

UNUSED = "error: ignoring return value of 'fread' [-Werror=unused-result]"


@pytest.mark.parametrize(
    ("now", "recorded", "stdout", "stderr", "expected"),
    [
        # An error, without its place.
        (
            "amber",
            "All tests passed\n",
            "",
            f"hiker.cpp: In function 'int main()':\nhiker.cpp:12:5: {UNUSED}\n",
            UNUSED,
        ),
        ("amber", "", "Hiker.cs(3,9): error CS0006: no file\n", "", "error CS0006: no file"),
        ("amber", "", "", "./a.sh: line 3: n: not found\n", "./a.sh: line N: n: not found"),
        # What was recorded does not explain another colour, wherever it stood.
        (
            "red",
            "a.c:1: error: one\n",
            "",
            "a.c:9: error: one\nb.c:2:2: error: two\n",
            "error: two",
        ),
        # Without an error, the first line that is new.
        ("red", "one\n", "one\ntwo\nthree\n", "", "two"),
        ("red", "one\n", "one\n", "", SAME_OUTPUT),
        # A light that is green now: what is gone.
        ("green", "x.cpp:3:1: error: no towel\n", "1 tests passed\n", "", "gone: error: no towel"),
        ("green", "", "1 tests passed\n", "", SAME_OUTPUT),
        # Numbers differ from light to light.
        ("red", "", "expected 42, found 54.5 at 0x7ffd\n", "", "expected N, found N at N"),
    ],
)
def test_the_cause_is_the_first_line_that_explains_the_colour(
    now: str, recorded: str, stdout: str, stderr: str, expected: str
) -> None:
    assert cause(now, recorded, stdout, stderr) == expected


def ran(number: int, now: str, stderr: str, reason: str = "") -> Ran:
    """Return a light for the report that was green when it was recorded."""
    return Ran(
        kata_id="493A06504A",
        avatar="whale",
        number=number,
        image_name="gcc_assert",
        image_id="sha256:0",
        recorded="green",
        now=now,
        reason=reason,
        status=2,
        seconds=0.5,
        max_seconds=10,
        recorded_output="All tests passed",
        stderr=stderr,
    ).without_outputs()


def test_lights_that_differ_are_grouped_by_cause_the_most_frequent_first() -> None:
    outcomes = [
        ran(1, "green", "a.c:1:1: error: of a light that is the same"),
        ran(2, "amber", "a.c:1:1: error: rare"),
        ran(3, "amber", "a.c:1:1: error: frequent"),
        ran(4, "amber", "b.c:22:7: error: frequent"),
        ran(5, "timed_out", "", reason="it took longer than 10 s"),
    ]
    found = counts.causes(counts.count(outcomes).values())
    assert [(each.cause, [light.number for light in each.lights]) for each in found] == [
        ("error: frequent", [3, 4]),
        ("error: rare", [2]),
        ("it took longer than 10 s", [5]),
    ]
    (first, *_) = counts.to_json(counts.count(outcomes), 1, [])["causes"]
    assert first["lights"] == ["493A06504A/whale/3", "493A06504A/whale/4"]
    assert (first["recorded"], first["now"]) == ("green", "amber")
