import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.differences.within_line import MAX_WORDS, Piece, marked


def shown(pieces: list[Piece]) -> str:
    return "".join(f"[{piece.text}]" if piece.is_changed else piece.text for piece in pieces)


@pytest.mark.parametrize(
    ("was", "now", "before", "after"),
    [
        ("return 6 * 9", "return 6 * 7", "return 6 * [9]", "return 6 * [7]"),
        ("answer()", "answers()", "answer()", "answer[s]()"),
        ("assert cat == 1", "assert dog == 1", "assert [cat] == 1", "assert [dog] == 1"),
        ("x = a b c", "x = d e f", "x = [a b c]", "x = [d e f]"),
        ("f(x)", "f(x, y)", "f(x)", "f(x[, y])"),
        ("  a", "    a", "  a", "  [  ]a"),
        ("", "a", "", "[a]"),
        ("größer", "größe", "größe[r]", "größe"),
    ],
)
def test_what_differs_within_a_line_is_marked(was: str, now: str, before: str, after: str) -> None:
    one, other = marked(was, now)
    assert (shown(one), shown(other)) == (before, after)


@given(st.text(max_size=80), st.text(max_size=80))
def test_the_pieces_are_the_lines_and_what_is_not_marked_is_in_both(was: str, now: str) -> None:
    one, other = marked(was, now)
    assert "".join(piece.text for piece in one) == was
    assert "".join(piece.text for piece in other) == now
    if was != now:
        assert any(piece.is_changed for piece in (*one, *other))
    else:
        assert not any(piece.is_changed for piece in (*one, *other))


def test_a_line_of_too_many_words_is_marked_as_a_whole() -> None:
    line = "a " * MAX_WORDS
    one, other = marked(line, line + "b")
    assert (len(one), len(other)) == (1, 1)
    assert one[0].is_changed
