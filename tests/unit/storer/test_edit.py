"""Edits: what is between two lights, and its JSON."""

import json
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storer.fs.json_files import Unreadable
from storer.kata import edit, light, light_facts
from storer.kata.edit import CHANGED, CREATED, DELETED, KINDS, RENAMED, Change, Edit
from storer.kata.request import Request

texts = st.text(st.characters(codec="utf-8"), max_size=20)
counts = st.none() | st.integers(0, light_facts.MAX_COUNT)
numbers = st.integers(0, light.MAX_NUMBER)
edits = st.builds(
    Edit,
    number=numbers,
    minor=st.integers(1, light.MAX_NUMBER),
    time=st.datetimes(timezones=st.just(UTC)),
    changes=st.lists(st.builds(Change, st.sampled_from(KINDS), texts, texts), max_size=4).map(
        tuple
    ),
    is_truncated=st.booleans(),
    writer=texts,
    added=counts,
    deleted=counts,
    is_outage=st.booleans(),
    request=st.none() | st.builds(Request, texts.filter(bool), texts),
)
files = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["1", "2", "3"]))


@given(edits)
def test_an_edit_comes_back_from_its_json(made: Edit) -> None:
    assert edit.from_json(json.loads(json.dumps(edit.to_json(made)))) == made


@given(numbers, st.integers(1, 9_999_999))
def test_a_tag_names_the_light_and_the_edit(number: int, minor: int) -> None:
    assert edit.number_of(edit.tag_of(number, minor)) == (number, minor)


@pytest.mark.parametrize(
    "name", ["3", "3.0", "3.01", "03.1", "3.1.1", "v3.1", "3.1 ", "3.-1", "٣.1"]
)
def test_another_tag_is_no_edit(name: str) -> None:
    assert edit.number_of(f"refs/tags/{name}") is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"number": -1},
        {"number": True},
        {"minor": 0},
        {"minor": "1"},
        {"time": [2026, 13, 1]},
        {"changes": {}},
        {"changes": ["a"]},
        {"changes": [{"kind": "moved", "filename": "a"}]},
        {"changes": [{"kind": "created", "filename": "a"}] * (edit.MAX_CHANGES + 1)},
    ],
)
def test_what_is_no_edit_is_unreadable(wrong: dict[str, object]) -> None:
    good = {"number": 3, "minor": 1, "time": [2026, 11, 28, 7, 0, 0], "changes": []}
    edit.from_json(good)
    with pytest.raises(Unreadable):
        edit.from_json({**good, **wrong})


@given(files, files)
def test_changes_lead_from_the_files_of_before_to_those_of_now(
    was: dict[str, str], now: dict[str, str]
) -> None:
    found = dict(was)
    for change in edit.changes_between(was, now):
        match change.kind:
            case edit.CREATED:
                assert change.filename not in was
                found[change.filename] = now[change.filename]
            case edit.DELETED:
                del found[change.filename]
            case edit.RENAMED:
                assert was[change.was] == now[change.filename]
                found[change.filename] = found.pop(change.was)
            case edit.CHANGED:
                assert was[change.filename] != now[change.filename]
                found[change.filename] = now[change.filename]
    assert found == now
    assert bool(edit.changes_between(was, now)) == (was != now)


def test_a_file_with_the_content_of_one_that_is_gone_was_renamed() -> None:
    was = {"a": "1", "b": "2", "c": "3"}
    now = {"x": "1", "b": "4", "y": "5"}
    assert edit.changes_between(was, now) == [
        Change(RENAMED, "x", "a"),
        Change(CREATED, "y"),
        Change(DELETED, "c"),
        Change(CHANGED, "b"),
    ]
