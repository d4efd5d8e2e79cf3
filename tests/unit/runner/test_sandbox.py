"""A submission writes the visible files, whatever a run left in their place."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dojo import visible_files
from runner.sandbox import safe_fs
from runner.sandbox.sandbox import AvatarFolder, Sandbox

names = st.lists(st.sampled_from(["a", "b", "c.sh"]), min_size=1, max_size=3).map("/".join)
submissions = st.dictionaries(names, st.binary(max_size=3), max_size=5).filter(
    lambda files: visible_files.name_that_is_a_folder(files) is None
)


def contents(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@settings(max_examples=60)
@given(st.lists(submissions, min_size=1, max_size=4))
def test_after_each_submission_its_files_are_there_and_no_earlier_ones(
    tmp_path_factory: pytest.TempPathFactory, sent: list[dict[str, bytes]]
) -> None:
    folder = tmp_path_factory.mktemp("whale") / "sandbox"
    folder.mkdir()
    with safe_fs.opened(folder.parent) as avatar, safe_fs.opened(folder) as inner:
        for files in sent:
            # A new object each time, as the submission before may have been another process's.
            Sandbox(AvatarFolder(avatar, inner, os.getuid())).submit(files)
            assert contents(folder) == files
            folders = {path for path in folder.rglob("*") if path.is_dir()}
            assert all(any(each.iterdir()) for each in folders)


def test_products_stay_and_unchanged_files_keep_their_time(folder: Path, sandbox: Sandbox) -> None:
    files = {"hiker.c": b"1", "lib/a.c": b"2", "cyber-dojo.sh": b"make"}
    sandbox.submit(files)
    (folder / "lib/a.o").write_bytes(b"product")
    os.utime(folder / "hiker.c", ns=(1, 1))
    sandbox.submit({**files, "cyber-dojo.sh": b"make test"})
    assert (folder / "hiker.c").stat().st_mtime_ns == 1
    assert contents(folder)["cyber-dojo.sh"] == b"make test"
    sandbox.submit({"hiker.c": b"1"})
    assert contents(folder) == {"hiker.c": b"1", "lib/a.o": b"product"}


def test_scripts_are_executable_and_other_files_are_not(folder: Path, sandbox: Sandbox) -> None:
    sandbox.submit({"cyber-dojo.sh": b"", "hiker.c": b""})
    (folder / "hiker.c").chmod(0o4777)
    sandbox.submit({"cyber-dojo.sh": b"", "hiker.c": b""})
    assert (folder / "cyber-dojo.sh").stat().st_mode & 0o7777 == 0o755
    assert (folder / "hiker.c").stat().st_mode & 0o7777 == 0o644


def test_only_what_is_in_the_way_of_a_file_is_removed(
    folder: Path, sandbox: Sandbox, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a").write_bytes(b"mine")
    (folder / "link").symlink_to(outside / "a")
    (folder / "linked").symlink_to(outside)
    (folder / "full/of/things").mkdir(parents=True)
    os.mkfifo(folder / "pipe")
    os.mkfifo(folder / "piped")
    os.link(outside / "a", folder / "hard")
    names = ["link", "linked/a", "full", "pipe", "piped/a", "hard"]
    sandbox.submit(dict.fromkeys(names, b"theirs"))
    assert contents(folder) == dict.fromkeys(names, b"theirs")
    assert contents(outside) == {"a": b"mine"}


def test_a_folder_that_a_run_made_of_a_deleted_file_is_its_product(
    folder: Path, sandbox: Sandbox
) -> None:
    sandbox.submit({"a": b"", "b": b""})
    (folder / "a").unlink()
    (folder / "a").mkdir()
    (folder / "a/product").touch()
    sandbox.submit({"b": b""})
    assert (folder / "a/product").exists()


def test_the_next_submission_repairs_one_that_was_cut_short(folder: Path, sandbox: Sandbox) -> None:
    sandbox.submit({"a": b"1", "b": b"1"})
    # Killed after the names of both submissions and some of the new files were written.
    (folder.parent / "submission.json").write_text('{"filenames": ["a", "b", "c", "d"]}')
    (folder / "c").write_bytes(b"2")
    (folder.parent / ".visible-file").write_bytes(b"half of")
    sandbox.submit({"b": b"3"})
    assert contents(folder) == {"b": b"3"}


def test_names_in_a_restored_submission_json_can_not_lead_out(
    folder: Path, sandbox: Sandbox, tmp_path: Path
) -> None:
    (tmp_path / "precious").touch()
    for names in ('["../../precious", "/etc/passwd", 5]', "null", '{"a": 1}', "[", '"x"'):
        (folder.parent / "submission.json").write_text(f'{{"filenames": {names}}}')
        sandbox.submit({"a": b""})
        assert (tmp_path / "precious").exists()
        assert contents(folder) == {"a": b""}


def test_an_avatars_first_submission_deletes_what_it_started_with(
    folder: Path, sandbox: Sandbox
) -> None:
    (folder.parent / "manifest.json").write_text('{"start.c": "int a;"}')
    (folder / "start.c").write_text("int a;")
    (folder / "made.c").touch()
    sandbox.submit({"a": b""})
    assert contents(folder) == {"a": b"", "made.c": b""}


NOT_OURS = {
    "deep": b"[" * 100_000,
    "deep objects": b'{"filenames": [' + b"[" * 100_000,
    "names of another type": b'{"filenames": [1, {}]}',
    "no text": b'{"filenames": ["\xff\xfe"]}',
    "cut off": b'{"filenames": ["a',
    "large": b'{"filenames": [' + b'"a",' * 3_000_000 + b'"a"]}',
    "empty": b"",
}


@pytest.mark.parametrize("content", NOT_OURS.values(), ids=NOT_OURS)
@pytest.mark.parametrize("name", ["submission.json", "manifest.json"])
def test_a_restored_file_that_is_not_ours_does_not_keep_a_submission_from_its_place(
    folder: Path, sandbox: Sandbox, name: str, content: bytes
) -> None:
    (folder.parent / name).write_bytes(content)
    sandbox.submit({"a": b"1", "b": b"2"})
    sandbox.submit({"b": b"2"})
    assert contents(folder) == {"b": b"2"}


@pytest.mark.parametrize(
    "name", ["submission.json", ".submission.json", ".visible-file", ".removed"]
)
@pytest.mark.parametrize("kind", ["folder", "file", "link", "pipe"])
def test_what_a_restored_kata_has_in_place_of_our_files_is_removed(
    folder: Path, sandbox: Sandbox, name: str, kind: str
) -> None:
    path = folder.parent / name
    if kind == "folder":
        (path / "full").mkdir(parents=True)
        (path / "file").touch()
    elif kind == "file":
        path.write_bytes(b"x")
    elif kind == "link":
        path.symlink_to("/nowhere")
    else:
        os.mkfifo(path)
    (folder / "a/b").mkdir(parents=True)
    sandbox.submit({"a": b"1"})
    sandbox.submit({"b": b"2"})
    assert contents(folder) == {"b": b"2"}
    assert not (folder.parent / ".removed").exists()


def test_the_files_that_an_avatar_started_with_are_known_whatever_they_contain(
    folder: Path, sandbox: Sandbox
) -> None:
    started = '{ "a" : "\\u0000\\ud800 \\" é",\n"é/b":"", "c\\u00e9": "x"}\n'
    (folder.parent / "manifest.json").write_text(started)
    (folder / "é").mkdir()
    for name in ("a", "é/b", "cé", "product"):
        (folder / name).touch()
    sandbox.submit({"new": b""})
    assert set(contents(folder)) == {"new", "product"}
