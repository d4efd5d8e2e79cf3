"""Page tokens lead back to the end of a page, and nothing else is accepted as a token."""

import base64
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dojo import avatars
from dojo.errors import InvalidArgument
from storer.api import page_tokens

READERS: list[Callable[[str], object]] = [
    page_tokens.after_kata,
    page_tokens.after_light,
    page_tokens.after_name,
]


@given(st.from_regex(r"[0-9A-Za-z]{10}", fullmatch=True))
def test_a_katas_token_leads_back_to_it(kata_id: str) -> None:
    assert page_tokens.after_kata(page_tokens.token(kata_id)) == kata_id


@given(st.sampled_from(avatars.NAMES), st.integers(0, 10_000_000))
def test_a_lights_token_leads_back_to_it(avatar: str, number: int) -> None:
    assert page_tokens.after_light(page_tokens.token(avatar, number)) == (avatar, number, 0)


@given(st.sampled_from(avatars.NAMES), st.integers(0, 10_000_000), st.integers(1, 10_000_000))
def test_an_edits_token_leads_back_to_it(avatar: str, number: int, minor: int) -> None:
    token = page_tokens.token(avatar, number, minor)
    assert page_tokens.after_light(token) == (avatar, number, minor)


@given(st.integers(1, 255))
def test_a_places_token_leads_back_to_it(place: int) -> None:
    assert page_tokens.place(page_tokens.token(place), 256) == place


@pytest.mark.parametrize("place", [-1, 0, 3, 10**30, "1", 1.5, True])
def test_a_token_of_a_place_that_the_request_does_not_have_is_refused(place: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        page_tokens.place(page_tokens.token(place), 3)
    assert caught.value.field == "page_token"


@given(st.text())
def test_a_names_token_leads_back_to_it(name: str) -> None:
    assert page_tokens.after_name(page_tokens.token(name)) == name


def test_without_a_token_a_list_begins_at_its_start() -> None:
    assert page_tokens.after_kata("") == page_tokens.after_name("") == ""
    assert page_tokens.after_light("") == page_tokens.FIRST_PAGE


@given(
    st.text(min_size=1) | st.binary(min_size=1).map(lambda data: base64.b64encode(data).decode())
)
def test_a_made_up_token_is_refused(text: str) -> None:
    for read in READERS:
        with pytest.raises(InvalidArgument) as caught:
            read(text)
        assert caught.value.field == "page_token"


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("place", ["[" * 100_000, "[]", "{}", "null", '["a", "b", "c"]', "[1]"])
def test_a_token_of_another_form_is_refused(read: Callable[[str], object], place: str) -> None:
    with pytest.raises(InvalidArgument):
        read(base64.urlsafe_b64encode(place.encode()).decode())


def test_a_token_of_another_call_is_refused() -> None:
    kata, light = page_tokens.token("7C4E19D2B6"), page_tokens.token("whale", 1)
    for read, token in (
        (page_tokens.after_kata, light),
        (page_tokens.after_light, kata),
        (page_tokens.after_name, light),
        (page_tokens.after_light, page_tokens.token("nobody", 1)),
    ):
        with pytest.raises(InvalidArgument):
            read(token)


def test_a_token_that_is_too_long_is_not_parsed() -> None:
    with pytest.raises(InvalidArgument):
        page_tokens.after_name(page_tokens.token("a" * 5000))
