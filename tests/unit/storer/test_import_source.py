"""Finding katas in a katas directory."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storer.katas.import_source import KatasDirectory

IDS = ["60B2C95E04", "60D8A3F17E", "7C4E19D2B6", "7c4e19d2b6", "7hK2mQxW9d"]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("katas")
    for kata_id in IDS:
        (top / kata_id[:2] / kata_id[2:]).mkdir(parents=True)
    for other in (
        "60/short",
        "60/TOOLONG890",
        "60/._B2C95E0",
        "6/0B2C95E04",
        "lost+found",
        ".git/x",
    ):
        (top / other).mkdir(parents=True)
    (top / "readme.txt").touch()
    (top / "61").touch()
    return top


@settings(max_examples=200)
@given(
    kata_id=st.sampled_from(IDS),
    length=st.integers(0, 10),
    written=st.sampled_from([str, str.swapcase]),
    ignore_case=st.booleans(),
)
def test_ids_are_found_by_prefix(
    directory: Path, kata_id: str, length: int, written: Callable[[str], str], *, ignore_case: bool
) -> None:
    prefix = written(kata_id[:length])
    fold = str.lower if ignore_case else str
    found = KatasDirectory(directory).kata_ids(prefix, ignore_case=ignore_case)
    assert list(found) == [each for each in IDS if fold(each).startswith(fold(prefix))]


def test_only_folders_that_can_match_are_read(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[str] = []
    listdir = os.listdir

    def recording(path: Path) -> list[str]:
        listed.append(path.name)
        return listdir(path)

    monkeypatch.setattr(os, "listdir", recording)
    assert list(KatasDirectory(directory).kata_ids("7C4E")) == ["7C4E19D2B6"]
    assert listed == [directory.name, "7C"]


def test_a_kata_is_a_folder(directory: Path) -> None:
    katas = KatasDirectory(directory)
    assert katas.folder("7C4E19D2B6") == directory / "7C/4E19D2B6"
    assert katas.folder("7C4E19D2B7") is None
    assert katas.folder("6100000000") is None


@pytest.mark.parametrize("path", [None, Path("/nonexistent")])
def test_without_a_directory_there_are_no_katas(path: Path | None) -> None:
    katas = KatasDirectory(path)
    assert list(katas.kata_ids()) == []
    assert katas.folder("7C4E19D2B6") is None
