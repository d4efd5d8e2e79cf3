"""A backup's file is read without a storer, and nothing of it is trusted."""

import gzip
import hashlib
import io
import json
import tarfile

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from cli import backup_file
from cli.backup_file import BackupFile, NoBackup

IDS = ("493A06504A", "7C4E19D2B6", "7C4E19D2B7")
TOKEN = "0000000001-0123456789abcdef"  # noqa: S105 - it only names a backup


def member(name: str, content: bytes) -> bytes:
    """Return a member of a tar."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    padding = bytes(-len(content) % tarfile.BLOCKSIZE)
    return info.tobuf(tarfile.PAX_FORMAT) + content + padding


def backup(*, line: str = "", without_seal: str = "", wrong_seal: str = "") -> bytes:
    """Return a backup of three katas, of which the last could not be read."""
    parts = [tarfile.TarInfo.create_pax_global_header({"comment": f"cyber-dojo backup {TOKEN}"})]
    unsealed = parts[0]
    lines = [json.dumps({"token": TOKEN, "since": "", "prefix": "", "katas": []})[:-2]]
    for number, kata_id in enumerate(IDS):
        folder = f"{kata_id[:2]}/{kata_id[2:]}"
        made = member(f"{folder}/manifest.json", b"{}") + member(
            f"{folder}/whale/{'deep/' * 60}hiker.c", bytes(range(256)) * 5 * number
        )
        sha256 = hashlib.sha256(unsealed + made).hexdigest()
        parts.append(made)
        unsealed = b""
        entry = {"kata_id": kata_id, "state": "sent", "sha256": sha256}
        seal = {"kata_id": kata_id, "sha256": "0" * 64 if kata_id == wrong_seal else sha256}
        if number == 2:
            entry = {"kata_id": kata_id, "state": "failed", "reason": "it is damaged"}
            seal = {"kata_id": kata_id, "error": "it is damaged"}
        if kata_id == without_seal:
            unsealed = made
        else:
            parts.append(member(f"{folder}.json", json.dumps(seal).encode()))
        lines.append(("," if number else "") + json.dumps(entry))
    lines.append(line or "]}")
    manifest = "\n".join(lines).encode() + b"\n"
    return b"".join([*parts, member("backup.json", manifest), bytes(1024)])


def read(content: bytes) -> BackupFile:
    """Read a backup."""
    return backup_file.read(io.BufferedReader(io.BytesIO(content)))


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstandard.compress])
def test_a_whole_backup_is_read_compressed_or_not(compress: object) -> None:
    assert callable(compress)
    found = read(compress(backup()))
    assert (found.token, found.since, found.problems) == (TOKEN, "", {})
    assert list(found.entries) == list(IDS)
    assert found.whole == {each: found.entries[each].sha256 for each in IDS[:2]}
    assert found.entries[IDS[2]].reason == "it is damaged"


def test_a_backup_in_several_frames_is_read() -> None:
    content = backup()
    frames = [zstandard.compress(content[:5000]), zstandard.compress(content[5000:])]
    assert len(read(b"".join(frames)).whole) == 2


def test_a_kata_that_is_not_what_was_backed_up_is_named_and_no_other() -> None:
    content = bytearray(backup())
    place = content.index(bytes(range(256)))
    content[place] ^= 1
    found = read(bytes(content))
    assert list(found.problems) == [IDS[1]]
    assert list(found.whole) == [IDS[0]]
    found = read(backup(wrong_seal=IDS[0]))
    assert list(found.problems) == [IDS[0]]


def test_a_kata_without_its_seal_is_not_whole() -> None:
    assert IDS[0] not in read(backup(without_seal=IDS[0])).whole
    found = read(backup(without_seal=IDS[2]))
    assert list(found.problems) == [IDS[2]]


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstandard.compress])
def test_a_backup_that_breaks_off_anywhere_is_no_backup(compress: object) -> None:
    assert callable(compress)
    content = compress(backup())
    end = len(content)
    for length in [*range(0, end, max(1, end // 60)), end - 1]:
        with pytest.raises(NoBackup):
            read(content[:length])


@pytest.mark.parametrize(
    "line", ["x", "[]", ",{}", ',{"kata_id": "../../../x", "state": "sent"}', "[" * 5000]
)
def test_a_list_of_katas_that_is_none_is_refused(line: str) -> None:
    with pytest.raises(NoBackup, match=r"backup\.json"):
        read(backup(line=line))


@given(st.binary(max_size=3000))
def test_anything_else_is_no_backup(content: bytes) -> None:
    with pytest.raises(NoBackup):
        read(content)
    with pytest.raises(NoBackup):
        read(b"\x1f\x8b" + content)
    with pytest.raises(NoBackup):
        read(b"\x28\xb5\x2f\xfd" + content)


@given(st.integers(0, len(backup()) - 1025), st.integers(1, 255))
def test_no_changed_byte_goes_unnoticed_unless_it_changes_nothing_of_a_kata(
    place: int, change: int
) -> None:
    content = bytearray(backup())
    content[place] ^= change
    try:
        found = read(bytes(content))
    except NoBackup:
        return
    listed = {kata_id: each.sha256 for kata_id, each in found.entries.items() if each.sha256}
    whole = read(backup()).whole
    assert found.problems or listed != whole or found.whole == whole
