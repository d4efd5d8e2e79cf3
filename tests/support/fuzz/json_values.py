"""JSON values and texts, odd and broken ones among them."""

import json
from typing import Any

from hypothesis import strategies as st

from support.fuzz import strengths

ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, False, 0, -1, 1.5, 2**31, 2**63, 10**400, 1e308, "", "x", "\ud800", "\0", [], {}]
)
NAMES = st.sampled_from(
    ["a.c", "../x", "/abs", "", ".", "a/b", "a", ".git/config", "x" * 300, "\ud800", "ä", "output"]
)
values = st.recursive(
    ODD | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=6,
)


@st.composite
def mutated(draw: st.DrawFn, value: Any) -> Any:
    """Return a JSON value in which one value, somewhere inside, is another or is missing."""
    if isinstance(value, dict) and value and draw(st.integers(0, 5)):
        key = draw(st.sampled_from(sorted(value)))
        rest = {each: inner for each, inner in value.items() if each != key}
        match draw(st.sampled_from(["inside", "inside", "gone", "renamed"])):
            case "gone":
                return rest
            case "renamed":
                return {**rest, draw(NAMES): value[key]}
            case _:
                return {**value, key: draw(mutated(value[key]))}
    if isinstance(value, list) and value and draw(st.integers(0, 3)):
        at = draw(st.integers(0, len(value) - 1))
        match draw(st.sampled_from(["inside", "inside", "gone", "twice"])):
            case "gone":
                return [*value[:at], *value[at + 1 :]]
            case "twice":
                return [*value[: at + 1], *value[at:]]
            case _:
                return [*value[:at], draw(mutated(value[at])), *value[at + 1 :]]
    return draw(values)


@st.composite
def texts(draw: st.DrawFn, value: Any) -> bytes:
    """Return the text of a JSON value, in which a value or the text itself is not as it was."""
    match draw(st.sampled_from(["mutated"] * 5 + ["cut off", "deep", "long", "twice", "bytes"])):
        case "cut off":
            text = json.dumps(value).encode()
            return text[: draw(st.integers(0, len(text)))]
        case "deep":
            opening = draw(st.sampled_from([b"[", b'{"a":']))
            return opening * draw(st.integers(1, strengths.JSON_DEPTH))
        case "long":
            count = draw(strengths.sizes(5_000, strengths.JSON_BYTES // 3, one_in=8))
            return b"[" + b"[]," * count + b"[]]"
        case "twice":
            text = json.dumps(value).encode()
            return b"{" + text[1:-1] + b"," + text[1:-1] + b"}"
        case "bytes":
            return draw(st.sampled_from([b"", b"\xff\xfe", b"NaN", b'"\\ud800"', b"\0" * 100]))
        case _:
            return json.dumps(draw(mutated(value))).encode()
