"""JSON files, and file contents as JSON strings."""

import json
import os
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dojo import limits
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


PIECES = st.lists(st.sampled_from(["ü".encode(), "🦔".encode(), b"\xff", b"\xf0\x9f", b'"', b"a"]))


@given(st.dictionaries(st.text(), PIECES.map(b"".join) | st.binary()), st.integers(1, 5))
def test_large_files_become_the_same_json_in_pieces(files: dict[str, bytes], size: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(json_files, "_PIECE_BYTES", size)
        pieces = json_files.dump_files(files)
        found = pieces if isinstance(pieces, bytes) else b"".join(pieces)
    assert found == json_files.dumps(json_files.files_json(files))


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


@pytest.mark.parametrize(
    "content",
    [
        b"[" + b"[]," * 11_000 + b"0]",
        b"[" + b'"",' * 11_000 + b"0]",
        b"[" + b'{"a":0},' * 6_000 + b"0]",
    ],
)
def test_what_has_too_many_values_is_not_parsed(
    monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    """A list of 56 bytes in memory takes three characters."""
    monkeypatch.setattr(limits, "MAX_JSON_VALUES", 10_000)
    with peak_of() as peak:
        with pytest.raises(Unreadable, match="more than 10000 values"):
            json_files.loads(content, list)
        assert peak() < 2 * len(content)


def test_commas_and_brackets_in_strings_are_no_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_JSON_VALUES", 10)
    text = r"[{,\"\\" * 400
    content = json.dumps({"a": text, "b": text}).encode()
    assert json_files.loads(content, dict) == {"a": text, "b": text}


def test_quotes_without_an_end_are_passed_over_once() -> None:
    # A search that tries each quote as the beginning of a string would take hours.
    text = b"[" + b"," * limits.MAX_JSON_VALUES + b'"' + b'\\"' * 10_000_000 + b"\\"
    with pytest.raises(Unreadable, match="more than"):
        json_files.loads(text, list)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    with path.open("wb") as file:
        file.truncate(limits.MAX_JSON_BYTES + 1)
    with peak_of() as peak:
        with pytest.raises(Unreadable, match="bytes, more than"):
            json_files.read(path, dict)
        assert peak() < 1024**2


@contextmanager
def peak_of() -> Iterator[Callable[[], int]]:
    """Trace the memory: gives a function that returns the most that was taken until then."""
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_missing_file_or_a_folder_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, reason in (("none", "missing"), (".", "not a file"), ("file/x", "not a file")):
        with pytest.raises(Unreadable, match=reason):
            json_files.read(tmp_path / name, dict)


@pytest.mark.parametrize("value", [None, [], "a", {"a": 1}, {"a": None}, {"\ud800": "b"}])
def test_a_value_that_does_not_map_names_to_contents_is_unreadable(value: object) -> None:
    with pytest.raises(Unreadable):
        json_files.read_files(value)


# --- Large files


@pytest.mark.parametrize("is_file", [False, True])
def test_large_files_take_their_memory_one_after_another(tmp_path: Path, *, is_file: bool) -> None:
    path = tmp_path / "large.json"
    size = 4 * limits.LARGE_JSON_BYTES
    path.write_text(json.dumps({"a": "x" * size}))
    content = path.read_bytes()

    def read() -> None:
        if is_file:
            json_files.read(path, dict)
        else:
            json_files.loads(content, dict)

    with peak_of() as peak:
        read()
        alone = peak()
    assert alone > 2 * size
    with ThreadPoolExecutor(16) as threads, peak_of() as peak:
        for done in [threads.submit(read) for _ in range(64)]:
            done.result()
        assert peak() < 3 * alone


@pytest.mark.timeout(60)  # nobody writes into the pipe
@pytest.mark.parametrize("what", ["a pipe", "a device", "a link to itself", "a folder"])
def test_what_is_no_file_is_unreadable(tmp_path: Path, what: str) -> None:
    path = tmp_path / "increments.json"
    match what:
        case "a pipe":
            os.mkfifo(path)
        case "a device":
            path.symlink_to("/dev/zero")
        case "a link to itself":
            path.symlink_to(path)
        case _:
            path.mkdir()
    with pytest.raises(Unreadable):
        json_files.read(path, list)
