"""The files that `cyber-dojo create` sends: bounded, and none from outside the folder."""

import os
from pathlib import Path

import pytest

from cli import brought_files
from cli.terminal.complaint import CommandFailed
from dojo import visible_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two files, and a file beside it."""
    (tmp_path / "secret").write_text("secret")
    folder = tmp_path / "mine"
    (folder / "lib/deep").mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    (folder / "lib/deep/hiker.c").write_bytes(b"\xff\x00")
    return folder


def refusal(folder: Path) -> str:
    """Return why a folder is refused."""
    with pytest.raises(CommandFailed) as refused:
        brought_files.read(folder)
    return refused.value.message


def test_all_files_are_read_but_those_in_folders_of_programs(folder: Path) -> None:
    (folder / ".git").mkdir()
    (folder / ".git/config").touch()
    (folder / ".lintrc").write_text("x")
    (folder / "around").symlink_to(folder)
    (folder / "same").symlink_to("lib/deep/hiker.c")
    assert brought_files.read(folder) == {
        "manifest.json": b"{}",
        "lib/deep/hiker.c": b"\xff\x00",
        ".lintrc": b"x",
        "same": b"\xff\x00",
    }


def test_the_start_point_of_a_repository_is_found(folder: Path) -> None:
    assert brought_files.start_point_in(folder) == folder
    repository = folder.parent / "repository"
    repository.mkdir()
    assert brought_files.start_point_in(repository) == repository
    folder.rename(repository / "start_point")
    assert brought_files.start_point_in(repository) == repository / "start_point"


@pytest.mark.parametrize(
    "target", ["../../secret", "/etc/passwd", "deep/../../../secret", "../../no"]
)
def test_a_link_that_leads_out_of_the_folder_is_refused(folder: Path, target: str) -> None:
    (folder / "lib/link").symlink_to(target)
    assert refusal(folder) == f"{folder}/lib/link: is a link that leads out of the folder"


def test_what_is_no_file_is_refused_and_keeps_nobody_waiting(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    assert refusal(folder) == f"{folder}/pipe: is neither a file nor a folder"


def test_a_name_that_no_kata_can_have_is_refused(folder: Path) -> None:
    (folder / "a\nb").touch()
    assert refusal(folder) == f"{folder}/'a\\nb': the name has a control character"
    (folder / "a\nb").unlink()
    (folder / os.fsdecode(b"\xff")).mkdir()
    assert refusal(folder).endswith("the name is not UTF-8")


def test_too_many_files_are_refused(folder: Path) -> None:
    for number in range(visible_files.MAX_FILES - 2):
        (folder / f"f{number}").touch()
    assert len(brought_files.read(folder)) == visible_files.MAX_FILES
    (folder / "one more").touch()
    assert refusal(folder) == f"{folder}: has more than 4096 files"


def test_too_many_bytes_are_refused(folder: Path) -> None:
    with (folder / "large").open("wb") as file:
        file.truncate(visible_files.MAX_FILE_BYTES + 1)
    assert refusal(folder) == f"{folder}/large: has more than {visible_files.MAX_FILE_BYTES} bytes"
    for name in ("large", "large2", "large3"):
        with (folder / name).open("wb") as file:
            file.truncate(visible_files.MAX_FILE_BYTES)
    assert refusal(folder).startswith(f"{folder}: has files of more than 50331648 bytes together")


def test_a_folder_that_cannot_be_read_is_an_error_of_the_operating_system(folder: Path) -> None:
    (folder / "lib/dangling").symlink_to("missing")
    with pytest.raises(FileNotFoundError, match="dangling"):
        brought_files.read(folder)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        brought_files.read(folder / "nowhere")


def test_a_link_to_itself_is_told_by_the_system(folder: Path) -> None:
    (folder / "lib/itself").symlink_to("itself")
    with pytest.raises(OSError, match="lib/itself"):
        brought_files.read(folder)
