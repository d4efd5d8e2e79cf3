"""Kata ids: which are valid, how they are completed, and which folders they name."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dojo import kata_ids
from dojo.errors import InvalidArgument

LETTERS = string.ascii_letters + string.digits

whole_ids = st.text(LETTERS, min_size=10, max_size=10)


@given(whole_ids)
def test_ten_letters_and_digits_are_an_id_and_its_two_folders_make_it_up(kata_id: str) -> None:
    assert kata_ids.check(kata_id) == kata_id
    assert len(kata_ids.outer(kata_id)) == 2
    assert kata_ids.outer(kata_id) + kata_ids.inner(kata_id) == kata_id


@given(st.text(max_size=12))
def test_anything_else_is_no_id(text: str) -> None:
    is_id = len(text) == 10 and set(text) <= set(LETTERS)
    assert kata_ids.is_whole(text) == is_id


@pytest.mark.parametrize(
    "text",
    ["", "123456789", "12345678901", "123456789\n", "1234567890\n", "../../etc/", "12345678é0"],
)
def test_an_invalid_id_is_reported_with_its_field(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        kata_ids.check(text, "some_field")
    assert caught.value.field == "some_field"
    assert ascii(text) in caught.value.reason


def test_a_long_text_is_not_quoted_in_the_error() -> None:
    with pytest.raises(InvalidArgument) as caught:
        kata_ids.check("x" * 100_000)
    assert len(str(caught.value)) < 200
    assert "100000 characters" in caught.value.reason


@given(whole_ids, st.integers(0, 10))
def test_an_id_is_completed_from_its_first_six_characters_and_not_from_fewer(
    kata_id: str, length: int
) -> None:
    part = kata_id[:length]
    assert kata_ids.check_prefix(part) == part
    if length >= kata_ids.SHORTEST_PARTIAL:
        assert kata_ids.check_partial(part) == part
    else:
        with pytest.raises(InvalidArgument):
            kata_ids.check_partial(part)


@pytest.mark.parametrize("text", ["a/b", "*", "12345678901", "ab\n", "é"])
def test_a_text_that_can_not_begin_an_id_is_no_prefix(text: str) -> None:
    with pytest.raises(InvalidArgument):
        kata_ids.check_prefix(text)


def test_a_new_id_is_ten_upper_case_hexadecimal_digits_and_no_two_are_the_same() -> None:
    made = [kata_ids.new() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert set("".join(made)) == set("0123456789ABCDEF")
    assert all(kata_ids.is_whole(each) for each in made)


def test_the_id_of_a_savers_kata_begins_with_the_old_id() -> None:
    kata_id = kata_ids.of_old("rUqcey")
    assert kata_ids.is_whole(kata_id)
    assert kata_ids.old_of(kata_id) == "rUqcey"
    assert kata_ids.check_partial("rUqcey") == "rUqcey"
    for other in ("493A06504A", "rUqceydoj0", "rUqcIodojo"):
        assert kata_ids.old_of(other) is None


@pytest.mark.parametrize("text", ["rUqce", "rUqceyy", "rUqceI", "rUqceo", "rUqc-y", "rUqcey\n", ""])
def test_what_is_no_old_id_is_told_from_one(text: str) -> None:
    assert not kata_ids.is_old(text)
    with pytest.raises(InvalidArgument):
        kata_ids.check_whole_or_old(text)


def test_an_old_id_can_be_made_for_what_has_none() -> None:
    found = {kata_ids.old_from(f"493A06504A {number}") for number in range(1000)}
    assert len(found) == 1000
    assert all(map(kata_ids.is_old, found))
