"""The index of the archive: what a list shows of archived katas."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from storer.archive import index
from storer.archive.archive import NoArchive
from storer.archive.directory_store import DirectoryStore
from storer.archive.index import IndexEntry
from storer.archive.stored_archive import StoredArchive
from storer.kata.details import Details
from storer.kata.kata import Kata
from support.storer.damages import ID, LIGHTS, SOUND, write_kata

TIME = datetime(2019, 1, 16, 12, 44, 55, tzinfo=UTC)
ENTRY = IndexEntry(Details("C (gcc), assert", "Bottles", TIME, 2, 7, TIME), 12345, "abc")


@pytest.fixture
def archive(tmp_path: Path) -> StoredArchive:
    """An archive in a directory."""
    return StoredArchive(DirectoryStore(tmp_path / "archive"), "test")


def put(archive: StoredArchive, content: bytes = b"a tar") -> None:
    """Put a tar into the archive, whose content matters to nobody here."""
    archive.put(ID, iter([content]))


def test_an_entry_is_read_as_it_was_written(archive: StoredArchive) -> None:
    for entry in (ENTRY, IndexEntry(Details(problem="manifest.json: is missing"), 0, "")):
        archive.write_index(ID, index.dump(entry))
        assert index.read(archive, [ID]) == {ID: entry}
        assert index.has(archive, ID, entry)
        assert not index.has(archive, ID, replace(entry, size_bytes=1))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 8000,
        index.dump(ENTRY)[:-3],
        index.dump(ENTRY).ljust(index.MAX_BYTES + 1),
        index.dump(ENTRY).replace(b"12345", b"-1"),
        index.dump(ENTRY).replace(b"12345", b"1e400"),
        index.dump(ENTRY).replace(b"+00:00", b""),
        index.dump(ENTRY).replace(b'"lights": 7', b'"lights": 4294967296'),
    ],
)
def test_what_is_no_entry_counts_as_none(archive: StoredArchive, content: bytes) -> None:
    archive.write_index(ID, content)
    assert index.read(archive, [ID]) == {}
    assert not index.has(archive, ID, ENTRY)


def test_long_names_are_cut_so_that_an_entry_is_always_read(archive: StoredArchive) -> None:
    long = replace(ENTRY.details, display_name="\u2603" * 10_000, problem="x" * 10_000)
    content = index.dump(replace(ENTRY, details=long))
    assert len(content) <= index.MAX_BYTES
    archive.write_index(ID, content)
    assert index.read(archive, [ID])[ID].details.display_name == "\u2603" * 200


def test_the_entry_of_a_kata_says_what_is_in_it_and_is_written_once(
    archive: StoredArchive, tmp_path: Path
) -> None:
    kata = Kata.detached(write_kata(tmp_path), ID)
    index.write(archive, kata)
    assert index.read(archive, [ID]) == {}  # there is no tar
    put(archive)
    index.write(archive, kata)
    (entry,) = index.read(archive, [ID]).values()
    assert entry.details.avatar_count == len(SOUND)
    assert entry.details.light_count == len(SOUND) * LIGHTS
    (path,) = (tmp_path / "archive" / ".index").rglob("*.json")
    before = path.stat()
    index.write(archive, kata)
    assert path.stat() == before


def test_an_entry_of_an_older_tar_is_not_current(archive: StoredArchive, tmp_path: Path) -> None:
    kata = Kata.detached(write_kata(tmp_path), ID)
    put(archive)
    index.write(archive, kata)
    entry = index.read(archive, [ID])[ID]
    assert index.is_current(archive, ID, entry)
    put(archive, b"a longer tar")
    assert not index.is_current(archive, ID, entry)
    archive.delete(ID)
    assert not index.is_current(archive, ID, entry)


@pytest.mark.parametrize(
    ("told", "is_of_next"),
    [
        ({"light_count": 8}, True),
        ({"light_count": 9, "newest": None}, True),
        ({"light_count": 8, "avatar_count": 3}, True),
        ({"light_count": 10}, True),  # what is more was taken away by restoring
        ({}, False),  # it tells nothing new, so it has to be exactly right
        ({"newest": None}, False),
        ({"light_count": 6}, False),
        ({"light_count": 8, "avatar_count": 1}, False),
        ({"light_count": 8, "display_name": "other"}, False),
    ],
)
def test_an_entry_may_tell_of_lights_after_those_of_the_copy(
    archive: StoredArchive, told: dict[str, Any], *, is_of_next: bool
) -> None:
    live = replace(ENTRY.details, avatar_count=3, light_count=9, newest=None)
    assert not index.tells_of_next_copy(archive, ID, ENTRY, live)
    archive.write_index(ID, index.dump(replace(ENTRY, details=replace(ENTRY.details, **told))))
    assert index.tells_of_next_copy(archive, ID, ENTRY, live) is is_of_next


def test_an_entry_may_tell_of_an_avatar_that_is_damaged_by_now(archive: StoredArchive) -> None:
    live = replace(ENTRY.details, light_count=4, problem="whale/increments.json: is missing")
    archive.write_index(ID, index.dump(replace(ENTRY, details=live)))
    assert index.tells_of_next_copy(archive, ID, ENTRY, live)


def test_a_deleted_kata_has_no_entry_and_the_index_is_no_kata(archive: StoredArchive) -> None:
    put(archive)
    archive.write_index(ID, index.dump(ENTRY))
    assert list(archive.ids()) == [ID]
    archive.delete(ID)
    assert index.read(archive, [ID]) == {}
    assert list(archive.ids()) == []


def test_entries_are_json_that_any_program_reads() -> None:
    assert json.loads(index.dump(ENTRY))["display_name"] == "C (gcc), assert"


def test_without_an_archive_there_is_no_index() -> None:
    assert index.read(NoArchive(), [ID]) == {}
