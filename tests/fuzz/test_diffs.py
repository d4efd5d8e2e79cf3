"""Differences are exact: `git apply` turns the earlier files into the later ones."""

from hypothesis import given
from hypothesis import strategies as st

from support.fuzz import profiles, strengths
from support.fuzz.katas import Files
from support.fuzz.targets import try_
from support.fuzz.watched import World

ODD_NAMES = ["ü", "u\u0308", "漢", '"', "\\", "-p", "k.lock", "._l", " m", "n ", "o\u2028"]
FOLDERS = ["f/g", "h/i/j", "q/.../r", "d/dev/null", "x" * 255]
NAMES = st.sampled_from(["a", "b", "c d", "e.sh", ".gitattributes", *ODD_NAMES, *FOLDERS]) | (
    st.integers(0, 12).map(lambda number: f"file {number}")
)
# What a patch or git's attributes could take for something else stands among the lines.
USUAL = [b"", b"a", b"b", b"a\r", b"\r", b"\0", b"\xff", b"\\", b"x" * 5000]
PATCHES = [
    b"--- a/x",
    b"+++ y",
    b"-- x",
    b"@@ -1 +1 @@",
    b"diff --git a/x b/x",
    b"GIT binary patch",
]
PATCHES += [b"\\ No newline at end of file", b"* -text", b"* binary eol=crlf"]
LINES = st.sampled_from(USUAL + PATCHES)
TEXTS = st.lists(LINES, max_size=12).map(b"\n".join)
DOS = st.lists(LINES, max_size=12).map(b"\r\n".join)
CONTENTS = TEXTS | TEXTS.map(lambda text: text + b"\n") | DOS | st.binary(max_size=40)


@st.composite
def pairs(draw: st.DrawFn) -> dict[str, Files]:
    """Return the files of two lights, of which the later keeps, moves and changes some."""
    was = draw(st.dictionaries(NAMES, CONTENTS, min_size=1, max_size=6))
    now = draw(st.dictionaries(NAMES, CONTENTS, max_size=3))
    for name, content in was.items():
        match draw(st.sampled_from(["kept", "gone", "moved", "moved and changed", "changed"])):
            case "kept":
                now.setdefault(name, content)
            case "moved":
                now.setdefault(draw(NAMES), content)
            case "moved and changed":
                now.setdefault(draw(NAMES), content + draw(LINES))
            case "changed":
                now.setdefault(name, draw(changed(content)))
            case _:
                pass
    return {"was": was, "now": now or {"a": b""}}


@st.composite
def changed(draw: st.DrawFn, content: bytes) -> bytes:
    """Return a content in which some lines are others, or lines end otherwise."""
    lines = content.split(b"\n")
    match draw(st.sampled_from(["line", "end", "dos", "unix", "twice"])):
        case "line":
            lines[draw(st.integers(0, len(lines) - 1))] = draw(LINES)
        case "end":
            return content.removesuffix(b"\n") if content.endswith(b"\n") else content + b"\n"
        case "dos":
            return b"\r\n".join(lines)
        case "unix":
            return content.replace(b"\r\n", b"\n")
        case _:
            lines += lines
    return b"\n".join(lines)


@st.composite
def long(draw: st.DrawFn) -> dict[str, Files]:
    """Return lights with a file of many lines beside a short one."""
    unit = draw(st.sampled_from([b"\n", b"x\n", b"1\n2\n", b"\0\n"]))
    count = draw(strengths.sizes(5_000, strengths.COMPARED_LINES, one_in=20)) // len(unit)
    was = unit * count
    now = was[: draw(st.integers(0, len(was)))] + draw(LINES)
    return {"was": {"a": was, "b": b"1\n"}, "now": {"a": now, "b": b"2\n"}}


@st.composite
def many(draw: st.DrawFn) -> dict[str, Files]:
    """Return lights of which all files are others, so that each pair can be a rename."""
    count = 1 + draw(strengths.sizes(12, strengths.COMPARED_FILES, one_in=20))
    was = {f"was {number}": b"line\n" * 9 + b"%d\n" % number for number in range(count)}
    now = {f"now {number}": b"line\n" * 9 + b"%d" % number for number in range(count)}
    return {"was": was, "now": now}


def test_the_difference_of_two_lights_is_exact(world: World) -> None:
    @profiles.examples(50)
    @given(pairs() | pairs() | long() | many())
    def fuzz(pair: dict[str, Files]) -> None:
        try_(world, "diff", pair)

    fuzz()
