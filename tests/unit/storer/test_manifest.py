"""A kata's manifest.json: what is written is read again, and what is unknown is kept."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from cyberdojo.storer.v1 import storer_pb2
from dojo import limits
from dojo.errors import InvalidArgument
from storer.api import converters
from storer.fs import json_files
from storer.fs.json_files import Unreadable
from storer.kata import manifest
from storer.kata.manifest import Manifest

ID = "7C4E19D2B6"
TIME = datetime(2019, 1, 16, 12, 44, 55, tzinfo=UTC)


def as_json(made: Manifest) -> bytes:
    """Return the manifest.json of a kata."""
    return b"".join(manifest.dump(made, ID, TIME))


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
image_names = st.from_regex(r"[a-z]{1,5}(/[a-z0-9]{1,5})?(:[a-z0-9]{1,5})?", fullmatch=True)
names = st.from_regex(r"[a-z]{1,8}\.[a-z]{1,2}", fullmatch=True)
patterns = st.fixed_dictionaries(
    {
        "colour": st.sampled_from(manifest.PATTERN_COLOURS),
        "pattern": st.sampled_from(["OK", "^FAILED", "é+"]),
        "stream": st.sampled_from(manifest.STREAMS),
    }
)
values = st.recursive(
    st.none() | st.booleans() | texts | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
manifests = st.builds(
    Manifest,
    display_name=texts.filter(bool),
    image_name=image_names,
    exercise=texts,
    filename_extensions=st.lists(texts, max_size=3),
    max_seconds=st.integers(1, 60),
    tab_size=st.integers(1, 16),
    colour_patterns=st.none() | st.lists(patterns, max_size=3),
    visible_files=st.dictionaries(names, st.binary(max_size=20), min_size=1, max_size=3),
    highlight_filenames=st.lists(names, max_size=2),
    progress_regexs=st.lists(texts, max_size=2),
    hidden_filenames=st.lists(texts, max_size=2),
    results_filename=st.sampled_from(["", "results.xml", "build/results"]),
    other=st.dictionaries(
        texts.filter(lambda key: key not in manifest.KEYS)
        | st.sampled_from(["language", "unit_test_framework", "forked_from"]),
        values,
        max_size=3,
    ),
)


@given(manifests)
def test_what_is_written_is_read_again(made: Manifest) -> None:
    manifest.check(made)
    written = json.loads(as_json(made))
    assert manifest.from_json(written) == made
    assert manifest.created(written) == TIME


@pytest.mark.parametrize("key", ["language", "unit_test_framework"])
@pytest.mark.parametrize("value", [["Ruby", "4.0.1"], 5, {"a": [1]}, None, True])
def test_a_key_that_is_not_ours_can_have_any_type(key: str, value: object) -> None:
    made = Manifest("Ruby", "an/image", visible_files={"a.rb": b""}, other={key: value})
    manifest.check(made)
    assert manifest.from_json(json.loads(as_json(made))) == made


@pytest.mark.parametrize("number", [sys.float_info.max, -sys.float_info.max, 5e-324, -0.0])
def test_any_number_that_a_message_can_hold_is_read_again(number: float) -> None:
    sent = storer_pb2.Manifest(display_name="C", image_name="an/image", files={"a": b""})
    sent.other["n"] = number
    written = as_json(converters.manifest_from(sent))
    found = converters.manifest_to(manifest.from_json(json.loads(written)))
    assert found.other["n"] == number


@pytest.mark.parametrize("kind", ["list", "struct"])
def test_values_nested_as_deep_as_a_message_allows_are_read_again(kind: str) -> None:
    accepted = 0
    for depth in range(1, 60):
        value: Any = 1.0
        for _ in range(depth):
            value = [value] if kind == "list" else {"a": value}
        sent = storer_pb2.CreateKataRequest()
        sent.manifest.other.update({"n": value})
        try:
            request = storer_pb2.CreateKataRequest.FromString(sent.SerializeToString())
        except DecodeError:
            continue
        accepted = depth
        written = as_json(converters.manifest_from(request.manifest))
        found = storer_pb2.GetKataResponse(
            manifest=converters.manifest_to(manifest.from_json(json.loads(written)))
        )
        assert storer_pb2.GetKataResponse.FromString(found.SerializeToString()) == found
    assert 20 < accepted < 59


def test_as_many_values_as_are_accepted_are_read_again() -> None:
    count = limits.MAX_MANIFEST_BYTES // len("0,")
    whole = Manifest("a", "b", visible_files={"a": b""}, other={"n": [0] * count})
    with pytest.raises(InvalidArgument, match=str(limits.MAX_MANIFEST_BYTES)):
        manifest.check(whole)
    made = replace(whole, other={"n": [0] * (count - 200)})
    manifest.check(made)
    written = as_json(made)
    assert manifest.from_json(json_files.loads(written, dict)) == made


def test_a_message_with_far_too_many_values_is_refused_before_it_is_converted() -> None:
    message = storer_pb2.Manifest()
    message.other.update({"n": [0] * 1_000_000})
    with pytest.raises(InvalidArgument, match=str(limits.MAX_MANIFEST_BYTES)):
        converters.manifest_from(message)


@given(manifests)
def test_a_message_says_the_same(made: Manifest) -> None:
    sent = storer_pb2.Manifest.FromString(converters.manifest_to(made).SerializeToString())
    assert converters.manifest_from(sent) == made


def test_a_legacy_manifest_is_understood_and_its_other_keys_are_kept() -> None:
    found = manifest.from_json(
        {
            "id": ID,
            "created": [2014, 7, 2, 7, 15, 33],
            "language": "Ruby-Rspec",
            "unit_test_framework": "ruby_rspec",
            "browser": "none",
            "filename_extension": ".rb",
            "red_amber_green": ["lambda { |output|", "  :red", "}"],
            "visible_files": {"a.rb": "é", "output": "told"},
        }
    )
    assert found.display_name == "Ruby, RSpec"
    assert found.image_name == "cyberdojofoundation/ruby_rspec"
    assert found.filename_extensions == [".rb"]
    assert found.ruby_lambda == "lambda { |output|\n  :red\n}"
    assert found.visible_files == {"a.rb": "é".encode()}
    assert found.other == {
        "language": "Ruby-Rspec",
        "unit_test_framework": "ruby_rspec",
        "browser": "none",
    }


def test_a_file_called_output_is_one_like_any_other_in_ours() -> None:
    made = Manifest("a", "b", visible_files={"output": b"mine"})
    assert manifest.from_json(json.loads(as_json(made))).visible_files == {"output": b"mine"}


GOOD: dict[str, Any] = {"display_name": "a", "image_name": "b", "visible_files": {"a": "b"}}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("display_name", 5),
        ("display_name", "\ud800"),
        ("max_seconds", True),
        ("max_seconds", -1),
        ("max_seconds", 2**31),
        ("tab_size", "4"),
        ("visible_files", None),
        ("visible_files", {"a": 1}),
        ("filename_extension", 5),
        ("progress_regexs", [5]),
        ("colour_rule", {"patterns": {}}),
        ("colour_rule", []),
        ("unknown", {"\ud800": 1}),
        ("unknown", "\udfff"),
        ("unknown", 2**1024),
        ("unknown", json.loads("[" * 200 + "]" * 200)),
    ],
)
def test_what_can_not_be_understood_or_told_is_unreadable(key: str, value: object) -> None:
    assert manifest.from_json(GOOD)
    with pytest.raises(Unreadable):
        manifest.from_json({**GOOD, key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tab_size", "x" * 100_000),
        ("hidden_filenames", {"x" * 100_000: 1}),
        ("x" * 100_000, "\ud800"),
    ],
)
def test_a_large_value_is_told_in_part(key: str, value: object) -> None:
    with pytest.raises(Unreadable) as raised:
        manifest.from_json({**GOOD, key: value})
    assert len(str(raised.value)) < 200


CHECKS: list[tuple[Callable[[], Manifest], str]] = [
    (lambda: Manifest("", "b", visible_files={"a": b""}), "manifest.display_name"),
    (lambda: Manifest("a", "", visible_files={"a": b""}), "manifest.image_name"),
    (lambda: Manifest("a", "gcc:{}", visible_files={"a": b""}), "manifest.image_name"),
    (lambda: Manifest("a", "b"), "manifest.files"),
    (lambda: Manifest("a", "b", visible_files={"../a": b""}), "manifest.files['../a']"),
    (lambda: Manifest("a", "b", max_seconds=61, visible_files={"a": b""}), "manifest.max_seconds"),
    (lambda: Manifest("a", "b", tab_size=0, visible_files={"a": b""}), "manifest.tab_size"),
    (
        lambda: Manifest(
            "a", "b", visible_files={"a": b""}, colour_patterns=[{"colour": "red", "pattern": "("}]
        ),
        "manifest.colour_rule.patterns.patterns[0].pattern",
    ),
    (
        lambda: Manifest("a", "b", visible_files={"a": b""}, other={"image_name": "c"}),
        "manifest.other.image_name",
    ),
    (
        lambda: Manifest("a", "b", visible_files={"a": b""}, other={"n": [0] * 1_000_001}),
        "manifest",
    ),
    (
        lambda: Manifest("a", "b", visible_files={"a": b""}, hidden_filenames=[""] * 1_000_001),
        "manifest",
    ),
]


@pytest.mark.parametrize(("make", "field"), CHECKS)
def test_what_no_kata_can_be_created_from_is_refused_by_field(
    make: Callable[[], Manifest], field: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        manifest.check(make())
    assert caught.value.field == field


def test_a_large_manifest_is_written_in_pieces() -> None:
    content = bytes(range(0x80, 0x100)) * 2**16
    made = Manifest("Ruby", "an/image", visible_files={"a": content, "b": b"small"})
    pieces = list(manifest.dump(made, ID, TIME))
    assert max(map(len, pieces)) < len(content)
    found = manifest.from_json(json.loads(b"".join(pieces)))
    assert found.visible_files == made.visible_files
