"""Files that are rewritten in place are whole for readers, and lose nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from storer.fs import block_groups, in_place

SMALL, LARGE = b"small", b"x" * 100_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "manifest.json"


def others(file: Path) -> list[str]:
    return sorted(path.name for path in file.parent.iterdir() if path != file)


@pytest.mark.parametrize("before", [None, b"", SMALL, b"longer than the new content", LARGE])
@pytest.mark.parametrize("spare", [None, b"", b"longer than the new content", LARGE])
@pytest.mark.parametrize("content", [b"", b"new", LARGE + b"new"])
def test_a_swapped_file_has_the_new_content(
    file: Path, before: bytes | None, spare: bytes | None, content: bytes
) -> None:
    for path, existing in ((file, before), (in_place.spare_of(file), spare)):
        if existing is not None:
            path.write_bytes(existing)
    in_place.swap(file, content)
    assert file.read_bytes() == content
    assert others(file) in ([], [".manifest.json.spare"])


def test_from_the_second_swap_on_no_file_is_created(file: Path) -> None:
    file.write_bytes(b"0")
    in_place.swap(file, b"1")
    inodes = {file.stat().st_ino, in_place.spare_of(file).stat().st_ino}
    for number in range(2, 9):
        in_place.swap(file, b"%d" % number)
        assert file.stat().st_ino in inodes
        assert file.read_bytes() == b"%d" % number


def test_a_large_file_that_is_open_is_not_changed(file: Path) -> None:
    file.write_bytes(LARGE)
    assert in_place.swapped_bytes(len(LARGE)) == 0
    with file.open("rb") as reader:
        for number in range(4):
            in_place.swap(file, b"%d" % number)
        assert reader.read() == LARGE


def test_a_large_file_is_not_reused_even_if_a_killed_swap_left_it_as_the_spare(
    file: Path,
) -> None:
    file.write_bytes(SMALL)
    spare = in_place.spare_of(file)
    spare.write_bytes(LARGE)
    with spare.open("rb") as reader:
        in_place.swap(file, b"new")
        in_place.swap(file, b"newer")
        assert reader.read() == LARGE


def test_a_file_with_another_name_is_not_changed_there(file: Path) -> None:
    file.write_bytes(b"[1]\n")
    other = file.with_name("other")
    other.hardlink_to(file)
    assert not in_place.extend(file, b"2")
    spare = in_place.spare_of(file)
    other.unlink()
    spare.write_bytes(b"spare")
    other.hardlink_to(spare)
    in_place.swap(file, b"new")
    assert (file.read_bytes(), other.read_bytes()) == (b"new", b"spare")


def test_a_link_instead_of_a_file_is_not_followed(file: Path) -> None:
    victim = file.with_name("victim")
    victim.write_bytes(b"[]")
    in_place.spare_of(file).symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        in_place.swap(file, b"new")
    file.symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        in_place.extend(file, b"1")
    assert victim.read_bytes() == b"[]"


@pytest.mark.parametrize("list_", ["[]", "[]\n", "[ ]", "[1]", "[1,\n2]\n", '["]"]\n\n  ', "[[1]]"])
def test_an_extended_list_has_the_new_elements_behind_the_old(file: Path, list_: str) -> None:
    file.write_text(list_)
    assert in_place.extend(file, b'{"a":1},\n{"b":2}')
    assert in_place.extend(file, b"[]")
    assert json.loads(file.read_bytes()) == [*json.loads(list_), {"a": 1}, {"b": 2}, []]


@pytest.mark.parametrize("content", ["", "{}", "[1", "1", "]" + " " * 99, " " * 99 + "]", "]"])
def test_a_file_that_does_not_end_as_a_list_is_not_extended(file: Path, content: str) -> None:
    file.write_text(content)
    assert not in_place.extend(file, b"1")
    assert file.read_text() == content


@pytest.mark.parametrize("length", [0, 1, 30, 64, 65, 1000])
def test_only_the_end_of_a_list_changes(file: Path, length: int) -> None:
    content = json.dumps(["x" * length]).encode() + b"\n"
    file.write_bytes(content)
    kept = in_place.extended_bytes(len(content))
    in_place.extend(file, b"1")
    in_place.extend(file, b"2")
    assert file.read_bytes().startswith(content[: len(content) - kept])


def test_a_list_is_unchanged_if_the_disk_takes_only_a_part(file: Path) -> None:
    file.write_bytes(b"[1]\n")
    program = """
import pathlib, resource, sys
from storer.fs import in_place
resource.setrlimit(resource.RLIMIT_FSIZE, (6, 6))
in_place.extend(pathlib.Path(sys.argv[1]), b'"longer than that"')
"""
    command = [sys.executable, "-c", program, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "No space left" in done.stderr
    assert file.read_bytes() == b"[1]\n"


def test_a_folder_that_can_not_get_the_flag_is_not_an_error(tmp_path: Path) -> None:
    block_groups.spread_subfolders(tmp_path)
    block_groups.spread_subfolders(tmp_path)
    block_groups.spread_subfolders(tmp_path / "missing")
    block_groups.spread_subfolders(Path("/proc"))
    (tmp_path / "inside").mkdir()
