"""JSON files, and file contents as JSON strings."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storer.fs import json_files
from storer.fs.json_files import Unreadable


@given(st.binary())
def test_any_content_survives_json(content: bytes) -> None:
    text = json.loads(json_files.dumps(json_files.from_bytes(content)))
    assert json_files.to_bytes(text) == content


@given(st.text())
def test_text_is_stored_as_other_programs_do(text: str) -> None:
    assert json_files.to_bytes(text) == text.encode()
    assert json_files.from_bytes(text.encode()) == text


@given(st.dictionaries(st.text(), st.binary()))
def test_files_survive_json(files: dict[str, bytes]) -> None:
    encoded = json_files.dumps(json_files.files_json(files))
    assert encoded.isascii()
    assert json_files.read_files(json.loads(encoded)) == files


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\udcff\ud800"])
def test_a_lone_surrogate_of_another_program_becomes_a_question_mark(text: str) -> None:
    assert b"?" in json_files.to_bytes(text)
    assert not json_files.is_text(text)


@pytest.mark.parametrize(
    ("content", "kind", "reason"),
    [
        (b"", dict, "is not JSON"),
        (b"{", dict, "is not JSON"),
        (b"\xff{}", dict, "is not JSON"),
        (b"\0" * 4096, list, "is not JSON"),  # a power cut can leave such a file
        (b"[" * 100_000, list, "is not JSON"),
        (b"[]", dict, "is not a JSON object"),
        (b"{}", list, "is not a JSON list"),
        (b"null", list, "is not a JSON list"),
    ],
)
def test_malformed_json_is_unreadable_with_a_reason(
    tmp_path: Path, content: bytes, kind: type, reason: str
) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(Unreadable, match=reason):
        json_files.read(path, kind)


def test_a_missing_file_or_a_folder_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, reason in (("none", "missing"), (".", "not a file"), ("file/x", "not a file")):
        with pytest.raises(Unreadable, match=reason):
            json_files.read(tmp_path / name, dict)


@pytest.mark.parametrize("value", [None, [], "a", {"a": 1}, {"a": None}, {"\ud800": "b"}])
def test_a_value_that_does_not_map_names_to_contents_is_unreadable(value: object) -> None:
    with pytest.raises(Unreadable):
        json_files.read_files(value)
