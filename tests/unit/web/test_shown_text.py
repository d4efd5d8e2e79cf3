import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.shown_text import ends, numbered, shown, without_colours


def test_what_html_would_obey_is_escaped() -> None:
    assert shown("<b>\"'&") == "&lt;b&gt;&#34;&#39;&amp;"


@pytest.mark.parametrize("odd", ["\0", "\x1b", "\u202e", "\u2066", "\u200b", "\ufeff", "\x85"])
def test_characters_that_nobody_would_see_are_shown_by_their_numbers(odd: str) -> None:
    said = shown(f"<a{odd}b>")
    assert odd not in said
    assert f">U+{ord(odd):04X}</span>b&gt;" in said
    assert said.startswith("&lt;a<span")


def test_where_there_can_be_no_elements_numbers_stand_alone() -> None:
    assert numbered("a\u202eb\0") == "aU+202EbU+0000"


def test_letters_of_all_languages_and_line_breaks_are_themselves() -> None:
    text = "größe\t\u0645\u0631\u062d\n漢字 👩\u200d💻\r\n"
    assert shown(text) == text


@given(st.text())
def test_no_text_makes_an_element_of_its_own(text: str) -> None:
    said = shown(text)
    assert said.count("<") == 2 * said.count('<span class="odd"')


def test_an_output_has_no_colours_of_a_terminal() -> None:
    assert without_colours("\x1b[1;31mred\x1b[0m \x1b]0;title\x07x\x1b[2K") == "red x"


def test_of_a_long_text_both_ends_are_shown() -> None:
    assert ends("abcdef", 6) == ("abcdef", 0, "")
    assert ends("abcdefgh", 4) == ("ab", 4, "gh")
