"""Mounted start points that are damaged: the file is named, and nothing hangs or takes memory."""

import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dojo import limits, visible_files
from dojo.errors import StartPointDamaged
from storer.start_points import add as adding
from storer.start_points import index as indexing
from storer.start_points.checks import Findings
from storer.start_points.start_points import StartPoints, index_json
from support.storer.start_points import FILES, SCRIPT, a_language, index, own, write

__all__ = ["own"]  # a fixture

pytestmark = pytest.mark.timeout(60)  # a pipe would keep a reader for good

ENTRY = {"display_name": "Mine", "folder": "mine", "image_name": "a/b", "instructions": ""}
MIB = 1024**2


@pytest.fixture
def custom(own: Path) -> Path:
    """The folder of a custom start point that is served, beside a language."""
    write(own / "custom/mine", a_language(display_name="Mine"), FILES)
    done = index(own / "languages", own / "custom")
    assert done.returncode == 0, done.stderr
    assert StartPoints(own).get_custom("Mine").display_name == "Mine"
    return own / "custom"


def remove(path: Path) -> Path:
    path.unlink(missing_ok=True)
    return path


def make_pipe(path: Path) -> None:
    os.mkfifo(remove(path))


def make_circle(path: Path) -> None:
    remove(path).symlink_to(path.name)


def make_folder(path: Path) -> None:
    remove(path).mkdir()


def make_sparse(size: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with remove(path).open("wb") as file:
            file.truncate(size)

    return make


def list_refused(custom: Path) -> str:
    """Return how a list, and a start point, of this folder is refused, by a storer that starts."""
    with pytest.raises(StartPointDamaged) as listed:
        StartPoints(custom.parent).list_all("custom")
    with pytest.raises(StartPointDamaged) as got:
        StartPoints(custom.parent).get_custom("Mine")
    assert str(got.value) == str(listed.value)
    return str(got.value)


def problems(custom: Path) -> list[str]:
    """Return what the check of the folder says."""
    findings = Findings()
    indexing.check(custom, findings)
    return findings.problems


ENTRIES: dict[str, tuple[object, str]] = {
    "name a number": ({**ENTRY, "display_name": 5}, "display_name: is not text"),
    "name a surrogate": ({**ENTRY, "display_name": "\ud800"}, "display_name: is not text"),
    "name missing": ({"folder": "mine"}, "display_name: is not text"),
    "image a number": ({**ENTRY, "image_name": 5}, "image_name: is not text"),
    "image nothing": ({**ENTRY, "image_name": None}, "image_name: is not text"),
    "image a surrogate": ({**ENTRY, "image_name": "a\udc80"}, "image_name: is not text"),
    "instructions a number": ({**ENTRY, "instructions": 5}, "instructions: is not text"),
    "folder a number": ({**ENTRY, "folder": 5}, "folder: '5' is not the name"),
    "folder missing": ({"display_name": "Mine"}, "folder: 'None' is not the name"),
    "folder with NUL": ({**ENTRY, "folder": "a\0"}, r"folder: 'a\x00' is not the name"),
    "folder a surrogate": ({**ENTRY, "folder": "\ud800"}, r"folder: '\ud800' is not the name"),
    "folder of others": (
        {**ENTRY, "folder": "../languages/pascal"},
        "folder: '../languages/pascal' is not the name",
    ),
    "folder up inside": ({**ENTRY, "folder": "a/../../x"}, "folder: 'a/../../x' is not the name"),
    "folder absolute": ({**ENTRY, "folder": "/etc"}, "folder: '/etc' is not the name"),
    "folder itself": ({**ENTRY, "folder": "."}, "folder: '.' is not the name"),
    "folder empty": ({**ENTRY, "folder": ""}, "folder: '' is not the name"),
    "a text": ("Mine", "an entry is not a JSON object"),
    "a list": ([], "an entry is not a JSON object"),
}


@pytest.mark.parametrize(("entry", "says"), ENTRIES.values(), ids=ENTRIES)
def test_a_damaged_entry_is_told_with_the_index_and_the_key(
    custom: Path, entry: object, says: str
) -> None:
    (custom / "index.json").write_text(json.dumps([entry]))
    text = list_refused(custom)
    assert "custom/index.json: is not an index of start points: " in text
    assert says in text


INDEXES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a pipe": (make_pipe, "is not a file"),
    "a folder": (make_folder, "is not a file"),
    "a link to itself": (make_circle, "can't be read: Too many levels of symbolic links"),
    "a large one": (
        make_sparse(limits.MAX_INDEX_BYTES + 1),
        f"has {limits.MAX_INDEX_BYTES + 1} bytes, more than {limits.MAX_INDEX_BYTES}",
    ),
}


@pytest.mark.parametrize(("damage", "says"), INDEXES.values(), ids=INDEXES)
def test_an_index_that_is_no_file_is_told(
    custom: Path, damage: Callable[[Path], None], says: str
) -> None:
    damage(custom / "index.json")
    text = list_refused(custom)
    assert "custom/index.json: " in text
    assert says in text
    assert StartPoints(custom.parent).list_all("languages")


@pytest.mark.parametrize("damage", [Path.touch, make_circle], ids=["a file", "a link to itself"])
def test_a_kind_that_is_no_folder_is_told(own: Path, damage: Callable[[Path], None]) -> None:
    damage(own / "custom")
    assert "custom/index.json: can't be read: " in list_refused(own / "custom")
    assert problems(own / "custom")


FILE_DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a pipe": (make_pipe, "'hiker.pas': is not a regular file"),
    "a folder": (make_folder, "'hiker.pas': Is a directory"),
    "a link to itself": (make_circle, "'hiker.pas': Too many levels of symbolic links"),
    "a large one": (make_sparse(3 * 1024**3), "'hiker.pas': 3221225472 bytes are more than"),
}


@pytest.mark.parametrize(("damage", "says"), FILE_DAMAGES.values(), ids=FILE_DAMAGES)
def test_a_visible_file_that_is_none_is_told_and_not_read(
    custom: Path, damage: Callable[[Path], None], says: str
) -> None:
    damage(custom / "mine/hiker.pas")
    tracemalloc.start()
    try:
        with pytest.raises(StartPointDamaged) as raised:
            StartPoints(custom.parent).get_custom("Mine")
        (line,) = problems(custom)
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()
    assert says in str(raised.value)
    assert f"{custom}/mine: manifest.json: visible_filenames: " in str(raised.value)
    assert says in line


def test_a_large_visible_file_within_the_bound_is_served(custom: Path) -> None:
    make_sparse(visible_files.MAX_FILE_BYTES)(custom / "mine/hiker.pas")
    served = StartPoints(custom.parent).get_custom("Mine")
    assert len(served.visible_files["hiker.pas"]) == visible_files.MAX_FILE_BYTES


@pytest.mark.parametrize(
    ("number", "size", "says"),
    [(6, 16 * MIB, f"more than {48 * MIB} bytes together"), (4097, 0, "more than 4096 files")],
)
def test_no_more_files_are_read_than_a_kata_can_have(
    custom: Path, number: int, size: int, says: str
) -> None:
    names = [f"f{each}" for each in range(number)]
    keys = a_language(display_name="Mine", visible_filenames=[SCRIPT, *names])
    write(custom / "mine", keys)
    for name in names:
        make_sparse(size)(custom / "mine" / name)
    (custom / "mine" / names[-1]).unlink()  # it would be told if it were looked at
    with pytest.raises(StartPointDamaged, match=says):
        StartPoints(custom.parent).get_custom("Mine")


MANIFESTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a pipe": (make_pipe, "manifest.json: is not a file"),
    "a link to itself": (make_circle, "manifest.json: can't be read: Too many levels"),
    "a large one": (
        make_sparse(limits.MAX_MANIFEST_BYTES + 1),
        "manifest.json: has 1048577 bytes, more than 1048576",
    ),
}


@pytest.mark.parametrize(("damage", "says"), MANIFESTS.values(), ids=MANIFESTS)
def test_a_manifest_that_is_no_file_is_told(
    custom: Path, damage: Callable[[Path], None], says: str
) -> None:
    damage(custom / "mine/manifest.json")
    with pytest.raises(StartPointDamaged, match=says):
        StartPoints(custom.parent).get_custom("Mine")
    (line,) = problems(custom)
    assert says in line


def test_a_manifest_with_lists_in_lists_is_told(custom: Path) -> None:
    nested: Any = "[" * 900 + "]" * 900
    text = json.dumps(a_language(display_name="Mine"))[:-1] + f', "other": {nested}}}'
    (custom / "mine/manifest.json").write_text(text)
    with pytest.raises(StartPointDamaged, match=r"manifest\.json: "):
        StartPoints(custom.parent).get_custom("Mine")


def test_a_start_point_may_have_links_inside_of_it_and_be_where_a_link_leads(
    custom: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (custom / "mine/hiker.pas").rename(custom / "mine/real")
    (custom / "mine/hiker.pas").symlink_to("real")
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "mine"
    (custom / "mine").rename(elsewhere)
    (custom / "mine").symlink_to(elsewhere)
    assert problems(custom) == []
    served = StartPoints(custom.parent).get_custom("Mine")
    assert served.visible_files["hiker.pas"] == FILES["hiker.pas"].encode()


def test_a_folder_whose_name_is_not_utf_8_is_served(custom: Path) -> None:
    (custom / "mine").rename(os.fsdecode(os.fsencode(custom) + b"/m\xff"))
    findings = Findings()
    listed = indexing.check(custom, findings)
    assert findings == Findings()
    (custom / "index.json").write_bytes(index_json(listed))
    assert StartPoints(custom.parent).get_custom("Mine").display_name == "Mine"


def test_an_index_that_would_be_too_large_is_not_written(
    custom: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_INDEX_BYTES", 20)
    (line,) = problems(custom)
    assert line.startswith(f"{custom}/index.json: would have ")


def test_a_pipe_beside_the_files_is_not_added(
    custom: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    new = tmp_path_factory.mktemp("operator") / "new"
    write(new, a_language(display_name="New"), FILES)
    make_pipe(new / "pipe")
    before = sorted(custom.rglob("*"))
    findings = Findings()
    assert adding.add(custom, new, findings) == []
    (line,) = findings.problems
    assert line.startswith(f"{new}/pipe: can't be copied: ")
    assert sorted(custom.rglob("*")) == before
