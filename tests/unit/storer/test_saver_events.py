"""What a saver's events say is read, whatever form they have."""

from datetime import UTC, datetime

import pytest

from storer.kata import edit
from storer.kata.edit import At, Change, Edit
from storer.saver import events, kata, written
from storer.saver.files import Damaged
from storer.saver.kata import Content
from storer.saver.plain import parse_events

TIME = datetime(2020, 10, 19, 12, 51, 32, 991192, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1}\n{"a":2}\n',
        b'{"a":1},\n{"a":2}',
        b'[{"a":1},{"a":2}]',
        b'[\n  {\n    "a": 1\n  },\n  {\n    "a": 2\n  }\n]\n',
        b'{"a":1}\n{"a":2}\n{"a":',
        b'{"a":1},\n{"a":2},\n{"a": [1,',
        b'{"a":1}\n\n{"a":2}\r\n',
    ],
)
def test_a_list_of_any_version_is_read(text: bytes) -> None:
    assert parse_events(text, "events.json") == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("text", [b"", b"[]", b"1", b'{"a":1}\n{"b"\n{"c":3}\n', b'["a"]', b"\xff"])
def test_a_list_that_is_none_is_damaged(text: bytes) -> None:
    with pytest.raises(Damaged):
        parse_events(text, "events.json")


def test_lights_are_counted_and_edits_are_counted_between_them() -> None:
    said: list[dict[str, object]] = [
        {"event": "created"},
        {"colour": "file_edit"},
        {"colour": "red"},
        {"event": "outage"},
        {"colour": "file_rename"},
        {"colour": None, "revert": ["abcdef", 1]},
        {"colour": "green"},
    ]
    places = [At(0), At(0, 1), At(1), At(1, 1), At(1, 2), At(2), At(3)]
    assert events.places(said) == places


@pytest.mark.parametrize(
    ("colour", "expected", "is_special"),
    [
        ("red", "red", False),
        ("amber_special", "amber", True),
        ("timed_out", "timed_out", False),
        ("faulty", "faulty", False),
        ("pulling", "faulty", False),
        ("create", "faulty", False),
        (None, "faulty", False),
        (["red"], "faulty", False),
    ],
)
def test_every_colour_of_a_saver_is_one_of_ours(
    colour: object, expected: str, *, is_special: bool
) -> None:
    light = events.light_of({"colour": colour}, 1, TIME, Content({}), lambda *_: None)
    assert (light.colour, light.facts.is_special) == (expected, is_special)
    assert bool(light.reason) == (expected == "faulty" and colour != "faulty")


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ({"content": "a\nb"}, b"a\nb"),
        ({"content": ["a\n", "b"], "truncated": False}, b"a\nb"),
        ({"content": [""]}, b""),
        ("a", b"a"),
        ({"content": "\udcff"}, b"\xff"),
    ],
)
def test_a_content_is_read_as_text_and_as_lines(value: object, content: bytes) -> None:
    assert kata.file_of(value, "path") == (content, False)


@pytest.mark.parametrize("value", [None, {}, {"content": None}, {"content": [1]}, 5])
def test_a_content_that_is_none_is_damaged(value: object) -> None:
    with pytest.raises(Damaged):
        kata.file_of(value, "path")


@pytest.mark.parametrize(
    "changes",
    [
        (Change(edit.RENAMED, "new.c", "old.c"),),
        (Change(edit.CREATED, "a"),),
        (Change(edit.DELETED, "a"), Change(edit.CHANGED, "b")),
        (),
    ],
)
def test_an_edit_is_the_same_when_its_event_is_read(changes: tuple[Change, ...]) -> None:
    made = Edit(3, 1, TIME, changes, is_outage=not changes, writer="tab 1" if changes else "")
    event = written.event_of_edit(made, {})
    assert events.places([{"event": "created"}, event])[1].minor == 1
    assert events.edit_of(event, At(3, 1), TIME) == made
