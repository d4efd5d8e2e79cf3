"""What etcd has of a kata: keys that sort as lights do, and values that are whole or refused."""

import secrets
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dojo.errors import ArchiveDamaged, KataDamaged, KataNotFound
from storer.archive.directory_store import DirectoryStore
from storer.archive.stored_archive import StoredArchive
from storer.cluster.keys import RecordKeys
from storer.cluster.records import MAX_INLINE_BYTES, Records
from storer.fs.write_ahead_log import Entry, decode, encode
from storer.kata.edit import At

KATA = "493A06504A"
KEYS = RecordKeys("test")

places = st.builds(At, st.integers(0, 2**31), st.integers(0, 999_999))
names = st.binary(min_size=20, max_size=20).map(bytes.hex)
entries = st.builds(
    Entry,
    number=st.integers(0, 2**31),
    commit=names,
    objects=st.dictionaries(names, st.binary(max_size=100), max_size=5),
    minor=st.integers(0, 2**31),
)


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(StoredArchive(DirectoryStore(tmp_path / "archive"), "test"))


def bodies(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "archive/.bodies").rglob("*") if path.is_file()]


@given(places, places)
def test_keys_sort_as_lights_and_edits_do(one: At, other: At) -> None:
    keys = [KEYS.light(KATA, "whale", each) for each in (one, other)]
    assert (keys[0] < keys[1]) == (one < other)
    assert KEYS.place(KATA, keys[0]) == ("whale", one)


def test_other_keys_are_of_no_light() -> None:
    assert KEYS.place(KATA, KEYS.base(KATA)) is None
    assert KEYS.place(KATA, KEYS.options(KATA)) is None


@given(entries)
def test_an_entry_is_decoded_as_it_was_encoded(entry: Entry) -> None:
    assert decode(memoryview(b"".join(encode(entry)))) == entry


def test_a_small_entry_is_in_its_record(records: Records, tmp_path: Path) -> None:
    entry = Entry(3, "ab" * 20, {"cd" * 20: b"content"}, minor=2)
    value = records.of_entry(KATA, entry)
    assert records.entry(KATA, value) == entry
    assert not bodies(tmp_path)


def test_a_large_entry_is_in_the_archive_until_it_is_discarded(
    records: Records, tmp_path: Path
) -> None:
    entry = Entry(3, "ab" * 20, {"cd" * 20: secrets.token_bytes(MAX_INLINE_BYTES)})
    value = records.of_entry(KATA, entry)
    assert len(value) < 1000
    assert records.entry(KATA, value) == entry
    assert len(bodies(tmp_path)) == 1
    records.discard(KATA, records.bodies_of(KATA, value))
    assert not bodies(tmp_path)
    with pytest.raises(KataNotFound):
        records.entry(KATA, value)


def test_the_tar_of_a_base_is_discarded_with_it(records: Records, tmp_path: Path) -> None:
    value = records.of_tar(KATA, iter([b"a compressed tar"]))
    assert records.bodies_of(KATA, value) == []  # of another record it would be content
    assert records.bodies_of(KATA, value, is_base=True) == records.bodies(KATA)
    records.discard(KATA, records.bodies(KATA))
    assert not bodies(tmp_path)


def test_another_content_than_the_record_says_is_refused(records: Records, tmp_path: Path) -> None:
    large = Entry(3, "ab" * 20, {"cd" * 20: secrets.token_bytes(MAX_INLINE_BYTES)})
    other = Entry(4, "ab" * 20, {"cd" * 20: secrets.token_bytes(MAX_INLINE_BYTES)})
    value = records.of_entry(KATA, large)
    (body,) = bodies(tmp_path)
    records.of_entry(KATA, other)
    (second,) = (path for path in bodies(tmp_path) if path != body)
    second.replace(body)
    with pytest.raises(ArchiveDamaged):
        records.entry(KATA, value)


def test_a_base_has_the_files_of_a_new_kata(records: Records) -> None:
    files = {"manifest.json": b'{"a": "\xff\xc3\xa4"}', "options.json": b"{}"}
    assert records.base(KATA, records.of_files(KATA, files)).files == files


def test_a_value_of_an_unknown_kind_is_refused(records: Records) -> None:
    with pytest.raises(KataDamaged):
        records.content(KATA, b"?what a later version may write")
