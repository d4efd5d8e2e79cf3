"""The changes of a run, in a sandbox in which nothing changes any more."""

import os
from pathlib import Path

import pytest

from dojo import visible_files
from runner.sandbox import changes
from runner.sandbox.changes import (
    MAX_FILE_BYTES,
    MAX_FILES,
    MAX_TOTAL_BYTES,
    Changes,
    NamedChange,
    Why,
)
from runner.sandbox.file_versions import FileVersion, versions
from runner.sandbox.quota import DiskLimits
from runner.sandbox.sandbox import Sandbox

LIMITS = DiskLimits(size_bytes=10**9, files=10_000, min_free_bytes=0)
SUBMITTED = {"hiker.c": b"int a;\n", "cyber-dojo.sh": b"make\n"}


@pytest.fixture
def before(sandbox: Sandbox) -> dict[str, FileVersion]:
    """The versions of the files before the run, which are the visible files."""
    sandbox.submit(SUBMITTED)
    return versions(sandbox, LIMITS.files)


def since(sandbox: Sandbox, before: dict[str, FileVersion], max_entries: int = 10_000) -> Changes:
    return changes.since(before, SUBMITTED, sandbox, max_entries)


Before = dict[str, FileVersion]


def test_nothing_changed(sandbox: Sandbox, before: Before) -> None:
    assert since(sandbox, before) == Changes({}, is_truncated=False, deleted_filenames=[])


def test_created_changed_and_deleted_files_are_found(
    sandbox: Sandbox, before: Before, folder: Path
) -> None:
    (folder / "report.txt").write_bytes(b"good\n")
    (folder / "hiker.c").write_bytes(b"int b;\n")
    (folder / "cyber-dojo.sh").unlink()
    found = since(sandbox, before)
    assert found.files == {"report.txt": b"good\n", "hiker.c": b"int b;\n"}
    assert found.deleted_filenames == ["cyber-dojo.sh"]


def test_a_file_rewritten_with_the_same_content_did_not_change(
    sandbox: Sandbox, before: Before, folder: Path
) -> None:
    (folder / "hiker.c").write_bytes(SUBMITTED["hiker.c"])
    assert since(sandbox, before).files == {}


def test_a_change_is_found_even_if_size_and_time_are_the_same(
    sandbox: Sandbox, before: Before, folder: Path
) -> None:
    status = (folder / "hiker.c").stat()
    (folder / "hiker.c").write_bytes(b"int b;\n")
    os.utime(folder / "hiker.c", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert since(sandbox, before).files == {"hiker.c": b"int b;\n"}


@pytest.mark.parametrize(
    "content", [b"\0", b"a\0b", b"\xff", b"caf\xc3", b"x" * 5000 + b"\0", b"x" * 5000 + b"\xff"]
)
def test_binary_files_are_left_out(
    sandbox: Sandbox, before: Before, folder: Path, content: bytes
) -> None:
    (folder / "a").write_bytes(content)
    assert since(sandbox, before) == Changes({}, is_truncated=False, deleted_filenames=[])


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"a\0b", Why.NOT_TEXT),
        ("café".encode("latin-1"), Why.NOT_TEXT),
        (b"x" * (MAX_FILE_BYTES + 1), Why.TOO_LARGE),
    ],
)
def test_a_submitted_file_that_can_not_be_told_any_more_is_named(
    sandbox: Sandbox, before: Before, folder: Path, content: bytes, why: Why
) -> None:
    (folder / "hiker.c").write_bytes(content)
    found = since(sandbox, before)
    assert (found.files, found.named) == ({}, [NamedChange("hiker.c", why)])


def test_every_submitted_file_that_changed_is_told_or_named(sandbox: Sandbox, folder: Path) -> None:
    submitted = {f"{number:03}.txt": b"a" for number in range(2 * MAX_FILES)}
    sandbox.submit(submitted)
    before = versions(sandbox, LIMITS.files)
    for name in submitted:
        (folder / name).write_bytes(b"b")
    (folder / "000.txt").write_bytes(b"a")
    found = changes.since(before, submitted, sandbox, 10_000)
    assert found.is_truncated
    named = [change.filename for change in found.named]
    assert [*found.files, *named] == list(submitted)[1:]
    assert {change.why for change in found.named} == {Why.TOO_MANY}


@pytest.mark.parametrize("content", [b"--format doc\n", b"\0binary"])
def test_a_hidden_or_binary_file_that_was_submitted_is_told_like_any_other(
    sandbox: Sandbox, folder: Path, content: bytes
) -> None:
    submitted = {".rspec": content, "lib/.env": content}
    sandbox.submit(submitted)
    before = versions(sandbox, LIMITS.files)
    assert changes.since(before, submitted, sandbox, 10_000) == Changes(
        {}, is_truncated=False, deleted_filenames=[]
    )
    (folder / ".rspec").write_bytes(b"--color\n")
    (folder / "lib/.env").write_bytes(content)
    assert changes.since(before, submitted, sandbox, 10_000).files == {".rspec": b"--color\n"}


@pytest.mark.parametrize(
    ("name", "shown"),
    [("a\tb", r"'a\tb'"), ("a\nb", r"'a\nb'"), (os.fsdecode(b"caf\xe9"), r"'caf\udce9'")],
)
def test_files_with_names_that_no_visible_file_can_have_are_named(
    sandbox: Sandbox, before: Before, folder: Path, name: str, shown: str
) -> None:
    (folder / name).write_bytes(b"text")
    (folder / f".{name}").write_bytes(b"hidden")
    assert since(sandbox, before).named == [NamedChange(shown, Why.ODD_NAME)]
    for number in range(200):
        (folder / f"{number}{name}").write_bytes(b"text")
    assert len(since(sandbox, before).named) == 64


@pytest.mark.parametrize("length", range(4090, 4100))
def test_a_character_split_by_the_first_read_is_text(
    sandbox: Sandbox, before: Before, folder: Path, length: int
) -> None:
    content = b"x" * length + "é名\N{GRINNING FACE}".encode() * 5
    (folder / "a").write_bytes(content)
    assert since(sandbox, before).files == {"a": content}


@pytest.mark.parametrize("name", [".hidden", "a/.hidden/b", "a\nb", "git~1/x"])
def test_files_that_no_editor_shows_are_left_out(
    sandbox: Sandbox, before: Before, folder: Path, name: str
) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"text")
    assert since(sandbox, before).files == {}


def test_links_and_fifos_are_left_out_and_a_file_that_they_replace_counts_as_deleted(
    sandbox: Sandbox, before: Before, folder: Path
) -> None:
    (folder / "hiker.c").unlink()
    (folder / "hiker.c").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe")
    assert since(sandbox, before).files == {}
    assert since(sandbox, before).deleted_filenames == ["hiker.c"]


def test_a_file_at_the_size_limit_is_found_and_a_larger_one_is_left_out(
    sandbox: Sandbox, before: Before, folder: Path
) -> None:
    (folder / "a").write_bytes(b"x" * MAX_FILE_BYTES)
    assert since(sandbox, before) == Changes({"a": b"x" * MAX_FILE_BYTES}, False, [])  # noqa: FBT003
    (folder / "b").write_bytes(b"x" * (MAX_FILE_BYTES + 1))
    found = since(sandbox, before)
    assert list(found.files) == ["a"]
    assert found.is_truncated


def test_of_too_many_files_visible_and_top_level_ones_come_first(
    sandbox: Sandbox, before: Before, folder: Path
) -> None:
    (folder / "deep").mkdir()
    for number in range(MAX_FILES):
        (folder / f"deep/{number:03}").write_bytes(b"deep")
        (folder / f"a{number:03}").write_bytes(b"top")
    (folder / "hiker.c").write_bytes(b"int b;\n")
    found = since(sandbox, before)
    assert found.is_truncated
    assert list(found.files) == ["hiker.c", *(f"a{number:03}" for number in range(MAX_FILES - 1))]


def test_the_submitted_files_with_the_changes_are_no_more_than_an_avatar_may_have(
    sandbox: Sandbox, folder: Path
) -> None:
    submitted = {f"{number:04}.txt": b"a" for number in range(visible_files.MAX_FILES - 1)}
    sandbox.submit(submitted)
    before = versions(sandbox, LIMITS.files)
    for name in ("0000.txt", "new-1.txt", "new-2.txt"):
        (folder / name).write_bytes(b"new")
    found = changes.since(before, submitted, sandbox, 10_000)
    assert (list(found.files), found.is_truncated) == (["0000.txt", "new-1.txt"], True)
    visible_files.check({**submitted, **found.files})


def test_their_bytes_are_no_more_than_an_avatar_may_have(sandbox: Sandbox, folder: Path) -> None:
    large = bytes(visible_files.MAX_FILE_BYTES)
    rest = visible_files.MAX_TOTAL_BYTES - 2 * len(large)
    submitted = {"a": large, "b": large, "c": bytes(rest - 8), "d": b"four"}
    sandbox.submit(submitted)
    before = versions(sandbox, LIMITS.files)
    for name, content in (("d", b"five+"), ("x", b"more"), ("y", b"new")):
        (folder / name).write_bytes(content)
    found = changes.since(before, submitted, sandbox, 10_000)
    assert (found.files, found.is_truncated) == ({"d": b"five+", "y": b"new"}, True)
    visible_files.check({**submitted, **found.files})
    (folder / "d").write_bytes(b"nine more")
    found = changes.since(before, submitted, sandbox, 10_000)
    assert found.named == [NamedChange("d", Why.TOO_MANY)]
    visible_files.check({**submitted, **found.files})


def test_all_files_together_stay_below_the_limit(
    sandbox: Sandbox, before: Before, folder: Path
) -> None:
    count = MAX_TOTAL_BYTES // MAX_FILE_BYTES + 3
    for number in range(count):
        (folder / f"a{number}").write_bytes(b"x" * MAX_FILE_BYTES)
    (folder / "z").write_bytes(b"small")
    found = since(sandbox, before)
    assert found.is_truncated
    assert sum(map(len, found.files.values())) <= MAX_TOTAL_BYTES
    assert "z" in found.files


def test_a_file_that_was_not_reached_does_not_count_as_deleted(
    sandbox: Sandbox, before: Before, folder: Path
) -> None:
    for number in range(100):
        (folder / f"a{number}").touch()
    (folder / "cyber-dojo.sh").unlink()
    found = since(sandbox, before, max_entries=3)
    assert found.is_truncated
    assert found.deleted_filenames == ["cyber-dojo.sh"]
