"""Differences are exact: `git apply` turns the earlier files into the later ones."""

from hypothesis import given
from hypothesis import strategies as st

from support.fuzz import profiles, strengths
from support.fuzz.katas import Files
from support.fuzz.targets import try_
from support.fuzz.watched import World

NAMES = st.sampled_from(
    ["a", "b", "c d", "e.sh", "f/g", "h/i/j", "ü", '"', "\\", "-p", "k.lock", "._l", " m", "n "]
) | st.integers(0, strengths.COMPARED_FILES).map(lambda number: f"file {number}")
LINES = st.sampled_from([b"", b"a", b"b", b"\r", b"-- x", b"+++ y", b"@@ -1 +1 @@", b"\xff", b"\\"])
TEXTS = st.lists(LINES, max_size=12).map(b"\n".join)
LONG = st.tuples(st.sampled_from([b"\n", b"x\n", b"1\n2\n"]), st.integers(0, 3), LINES).map(
    lambda given: given[0] * (strengths.COMPARED_LINES >> given[1]) + given[2]
)
CONTENTS = TEXTS | TEXTS.map(lambda text: text + b"\n") | st.binary(max_size=40) | LONG


@st.composite
def pairs(draw: st.DrawFn) -> dict[str, Files]:
    """Return the files of two lights, of which the later keeps, moves and changes some."""
    was = draw(st.dictionaries(NAMES, CONTENTS, min_size=1, max_size=6))
    now = draw(st.dictionaries(NAMES, CONTENTS, max_size=3))
    for name, content in was.items():
        match draw(st.sampled_from(["kept", "gone", "moved", "changed"])):
            case "kept":
                now.setdefault(name, content)
            case "moved":
                now.setdefault(draw(NAMES), content)
            case "changed":
                now.setdefault(name, content + draw(LINES))
            case _:
                pass
    return {"was": was, "now": now or {"a": b""}}


@st.composite
def many(draw: st.DrawFn) -> dict[str, Files]:
    """Return lights of which all files are others, so that each pair can be a rename."""
    count = draw(st.integers(1, strengths.COMPARED_FILES))
    was = {f"was {number}": b"line\n" * 9 + b"%d\n" % number for number in range(count)}
    now = {f"now {number}": b"line\n" * 9 + b"%d" % number for number in range(count)}
    return {"was": was, "now": now}


def test_the_difference_of_two_lights_is_exact(world: World) -> None:
    @profiles.examples(50)
    @given(pairs() | many())
    def fuzz(pair: dict[str, Files]) -> None:
        try_(world, "diff", pair)

    fuzz()
