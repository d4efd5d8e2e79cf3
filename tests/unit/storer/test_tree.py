"""A walk finds everything in a tree, follows no link, and never leaves the tree."""

import os
import socket
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storer.fs import tree
from support.deep_folders import deep_folders


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A tree with a link to a secret outside, which no walk may find."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    top = tmp_path / "top"
    (top / "b/inner").mkdir(parents=True)
    (top / "b/inner/deep").write_bytes(b"deep")
    (top / "b/file").write_bytes(b"file")
    (top / "a").write_bytes(b"a")
    (top / "c").symlink_to(outside)
    return top


def paths(found: list[tree.Entry]) -> list[str]:
    return [str(each.path) for each in found]


def test_a_walk_yields_names_in_order_each_folder_before_its_content(top: Path) -> None:
    assert paths(list(tree.walk(top))) == ["a", "b", "b/file", "b/inner", "b/inner/deep", "c"]


def test_only_wanted_folders_are_entered(top: Path) -> None:
    found = list(tree.walk(top, lambda path: path.name != "inner"))
    assert paths(found) == ["a", "b", "b/file", "b/inner", "c"]


def test_a_folder_that_becomes_a_link_is_not_entered(top: Path) -> None:
    found = []
    for each in tree.walk(top):
        found.append(each)
        if each.path == PurePosixPath("b/inner"):
            (top / "b/inner").rename(top / "b/was")
            (top / "b/inner").symlink_to(top.parent / "outside")
    assert paths(found) == ["a", "b", "b/file", "b/inner", "c"]


def test_a_folder_that_is_moved_during_the_walk_is_walked_at_its_new_place(top: Path) -> None:
    contents = {}
    for each in tree.walk(top):
        if each.path == PurePosixPath("b/file"):
            (top / "b").rename(top / "moved")
            (top / "b").symlink_to(top.parent / "outside")
        if each.path.name in {"file", "deep"}:
            with open(each.open(), "rb") as file:
                contents[str(each.path)] = file.read()
    assert contents == {"b/file": b"file", "b/inner/deep": b"deep"}


def test_files_that_are_removed_during_the_walk_are_left_out(top: Path) -> None:
    found = []
    for each in tree.walk(top):
        found.append(each)
        if each.path == PurePosixPath("a"):
            (top / "b/inner/deep").unlink()
            (top / "b/inner").rmdir()
    assert paths(found) == ["a", "b", "b/file", "c"]


def test_a_walk_that_is_closed_early_leaves_nothing_open(top: Path) -> None:
    before = descriptors()
    walking = tree.walk(top)
    while next(walking).path != PurePosixPath("b/inner/deep"):
        pass
    assert descriptors() > before
    walking.close()
    assert descriptors() == before


def test_a_tree_is_walked_at_any_depth_and_a_kata_up_to_its_limit(top: Path) -> None:
    depth = 2 * tree.MAX_DEPTH
    with deep_folders(top, depth):
        deepest = max(len(each.path.parts) for each in tree.walk(top))
        assert deepest == depth
        assert max(len(each.path.parts) for each in tree.members(top)) == tree.MAX_DEPTH


def test_a_kata_is_copied_without_files_that_are_no_part_of_it(tmp_path: Path) -> None:
    kata, target = tmp_path / "kata", tmp_path / "target"
    sandbox = kata / "whale/sandbox"
    (sandbox / "lib").mkdir(parents=True)
    target.mkdir()
    (sandbox / "lib/a.c").write_bytes(b"a")
    (sandbox / "inside").symlink_to("lib/a.c")
    (sandbox / "outside").symlink_to("../../manifest.json")
    (kata / "whale/link").symlink_to("sandbox")
    (kata / "manifest.json").write_bytes(b"{}")
    (kata / "._manifest.json").write_bytes(b"stray")
    (kata / ".incoming-1").mkdir()
    (kata / ".incoming-1/manifest.json").write_bytes(b"{}")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(sandbox / "socket"))
        tree.copy(kata, target)
    copied = sorted(str(path.relative_to(target)) for path in target.rglob("*"))
    wanted = ["manifest.json", "whale", "whale/sandbox", "whale/sandbox/inside"]
    of_sandbox = ["whale/sandbox/lib", "whale/sandbox/lib/a.c", "whale/sandbox/outside"]
    assert copied == [*wanted, *of_sandbox]
    assert (target / "whale/sandbox/inside").readlink() == Path("lib/a.c")


# The members of a kata: the part of a tree that belongs to the kata.


@pytest.fixture
def kata(tmp_path: Path) -> Path:
    kata = tmp_path / "kata"
    (kata / "whale/sandbox/deep").mkdir(parents=True)
    (kata / "manifest.json").touch()
    (kata / "whale/sandbox/deep/file").write_bytes(b"content")
    return kata


def walked(kata: Path) -> list[str]:
    return [str(found.path) for found in tree.members(kata)]


def test_members_come_in_order_each_folder_before_its_content(kata: Path) -> None:
    assert walked(kata) == [
        "manifest.json",
        "whale",
        "whale/sandbox",
        "whale/sandbox/deep",
        "whale/sandbox/deep/file",
    ]


def test_files_that_are_no_part_of_a_kata_are_left_out(kata: Path) -> None:
    before = walked(kata)
    for name in ("._manifest.json", "f.lock", "whale/.DS_Store", ".incoming-x", ".journal"):
        (kata / name).touch()
    os.mkfifo(kata / "whale/sandbox/pipe")
    for place in ("link", "whale/link"):
        (kata / place).symlink_to("manifest.json")
    assert walked(kata) == before


@pytest.mark.parametrize("target", ["../other", "/usr/bin/python3", "../../../x", "deep/.."])
def test_links_in_a_sandbox_are_members_wherever_they_lead(kata: Path, target: str) -> None:
    (kata / "whale/sandbox/deep/link").symlink_to(target)
    (found,) = [found for found in tree.members(kata) if found.path.name == "link"]
    assert found.target == target


def test_files_that_other_programs_leave_are_members_where_a_participant_can_make_them(
    kata: Path, tmp_path: Path
) -> None:
    names = ["whale/sandbox/f.lock", "whale/sandbox/deep/._a", "whale/sandbox/.DS_Store"]
    for name in names:
        (kata / name).touch()
    assert set(names) <= set(walked(kata))
    (tmp_path / "imported").mkdir()
    tree.copy(kata, tmp_path / "imported")
    assert not set(names) & set(walked(tmp_path / "imported"))


def test_members_that_are_removed_during_the_walk_are_left_out(kata: Path) -> None:
    for found in tree.members(kata):
        if found.path.name == "whale":
            (kata / "whale/sandbox/deep/file").unlink()
            (kata / "whale/sandbox/deep").rmdir()
    assert walked(kata)[-1] == "whale/sandbox"


def test_a_folder_that_becomes_a_link_during_the_walk_is_not_followed(
    kata: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/secret").touch()
    seen = []
    for found in tree.members(kata):
        seen.append(found.path.name)
        if found.path.name == "sandbox":
            (kata / "whale/sandbox/deep").rename(kata / "whale/was")
            (kata / "whale/sandbox/deep").symlink_to(tmp_path / "elsewhere")
    assert "secret" not in seen


steps = st.lists(st.sampled_from(["..", "a", "b"]), max_size=6)


@given(steps, steps)
def test_a_link_that_stays_inside_leads_to_its_sandbox(place: list[str], target: list[str]) -> None:
    path = PurePosixPath("whale/sandbox", *(each for each in place if each != ".."), "link")
    if tree.link_stays_inside(path, "/".join(target)):
        led = os.path.normpath(str(path.parent.joinpath(*target)))
        assert PurePosixPath(led).is_relative_to("whale/sandbox")


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("whale/sandbox/link", "/etc"),
        ("whale/sandbox/link", ""),
        ("whale/sandbox/link", ".."),
        ("whale/sandbox/a/link", "../../x"),
        ("whale/sandbox/link", "here/../../x"),
        ("whale/link", "x"),
        ("link", "x"),
        ("nobody/sandbox/link", "x"),
    ],
)
def test_a_link_that_could_lead_elsewhere_does_not_stay_inside(path: str, target: str) -> None:
    assert not tree.link_stays_inside(PurePosixPath(path), target)


@pytest.mark.parametrize("held", [1, 3, 10, 100])
def test_the_names_of_a_large_folder_come_in_order_although_few_are_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    monkeypatch.setattr(tree, "_SMALL_FOLDER_BYTES", 0)
    monkeypatch.setattr(tree, "_HELD_NAMES", held)
    names = [os.fsdecode(name) for name in (b"b", b"\xff", "é".encode(), b"10", b"9", b"A", b".a")]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "inside").touch()
    found = [str(entry.path) for entry in tree.walk(tmp_path)]
    assert found == [path for name in sorted(names) for path in (name, f"{name}/inside")]
