"""Visible files: which names and sizes are valid."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dojo import visible_files
from dojo.errors import InvalidArgument

GOOD = ["hiker.c", "a/b/c.txt", ".bashrc", "a b", "ü/名", "-rf", "x.git", "git", "..a", "a..", "~"]
BAD = {
    "": "empty",
    "/etc/passwd": "absolute",
    "a//b": "part ''",
    "a/": "part ''",
    "./a": "part '.'",
    "a/../b": "part '..'",
    "..": "part '..'",
    "a\nb": "control character",
    "a\0b": "control character",
    "a\x7fb": "control character",
    "\udcff": "not UTF-8",
    "x" * 256: "256 bytes",
    "é" * 128: "256 bytes",
    # Names that git treats as its own folder, on one file system or another.
    ".git": ".git",
    "a/.GIT/hooks/pre-commit": ".git",
    ".git ": ".git",
    ".git.": ".git",
    "git~1/config": ".git",
    ".git::$INDEX_ALLOCATION/config": ".git",
}


@pytest.mark.parametrize("name", GOOD)
def test_a_name_that_stays_inside_is_good(name: str) -> None:
    assert visible_files.name_fault(name) is None


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_a_name_that_could_lead_elsewhere_is_refused_with_a_reason(name: str) -> None:
    fault = visible_files.name_fault(name)
    assert fault is not None
    assert BAD[name] in fault


parts = st.sampled_from(["a", "b", "..", ".", "", ".git", ".GIT", "git~1", "c.txt", "\n", "~", " "])


@given(st.lists(parts, max_size=5).map("/".join))
def test_no_good_name_leads_out_of_the_folder_that_it_is_in(name: str) -> None:
    if visible_files.name_fault(name) is None:
        top = "/top/sandbox"
        assert os.path.normpath(f"{top}/{name}") == f"{top}/{name}"
        assert ".git" not in name.lower().split("/")


@given(st.sets(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join), max_size=6))
def test_names_can_be_kept_together_if_none_is_the_folder_of_another(
    tmp_path_factory: pytest.TempPathFactory, names: set[str]
) -> None:
    folder = visible_files.name_that_is_a_folder(dict.fromkeys(names))
    top = tmp_path_factory.mktemp("files")
    assert (folder is None) == can_be_written(top, names)
    if folder is not None:
        assert any(name.startswith(f"{folder}/") for name in names)


def can_be_written(top: Path, names: set[str]) -> bool:
    try:
        for name in names:
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            (top / name).write_bytes(b"")
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        return False
    return True


def test_files_just_within_the_limits_are_accepted() -> None:
    most = visible_files.MAX_FILE_BYTES
    visible_files.check({str(n): b"" for n in range(visible_files.MAX_FILES)})
    visible_files.check({str(n): bytes(most) for n in range(visible_files.MAX_TOTAL_BYTES // most)})


@pytest.mark.parametrize(
    ("files", "field", "reason"),
    [
        ({str(n): b"" for n in range(4097)}, "files", "4097 files are more than 4096"),
        ({"a": bytes(16 * 1024 * 1024 + 1)}, "files['a']", "16777217 bytes are more"),
        ({str(n): bytes(13 * 1024 * 1024) for n in range(4)}, "files", "together are more"),
        ({"a/b": b"", "a": b""}, "files['a']", "is the folder of another file"),
        ({"../a": b""}, "files['../a']", "'..'"),
        ({"x" * 500: b""}, f"files['{'x' * 80}'...]", "500 bytes"),
    ],
)
def test_files_beyond_the_limits_are_refused_by_name(
    files: dict[str, bytes], field: str, reason: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        visible_files.check(files)
    assert caught.value.field == field
    assert reason in caught.value.reason


def test_only_scripts_are_executable() -> None:
    assert visible_files.mode("cyber-dojo.sh") == 0o755
    assert visible_files.mode("sh") == visible_files.mode("a.sh.txt") == 0o644
