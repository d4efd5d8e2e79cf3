"""Walking a kata's folder: what belongs to it, and nothing that it only leads to."""

import os
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storer.fs import tree


@pytest.fixture
def kata(tmp_path: Path) -> Path:
    kata = tmp_path / "kata"
    (kata / "whale/sandbox/deep").mkdir(parents=True)
    (kata / "manifest.json").touch()
    (kata / "whale/sandbox/deep/file").write_bytes(b"content")
    return kata


def walked(kata: Path) -> list[str]:
    return [str(found.path) for found in tree.walk(kata)]


def test_each_folder_comes_before_what_is_in_it_and_in_order(kata: Path) -> None:
    assert walked(kata) == [
        "manifest.json",
        "whale",
        "whale/sandbox",
        "whale/sandbox/deep",
        "whale/sandbox/deep/file",
    ]


def test_what_is_no_part_of_a_kata_is_left_out(kata: Path) -> None:
    before = walked(kata)
    for name in ("._manifest.json", "f.lock", "whale/.DS_Store", ".incoming-x", ".journal"):
        (kata / name).touch()
    os.mkfifo(kata / "whale/sandbox/pipe")
    for place in ("link", "whale/link"):
        (kata / place).symlink_to("manifest.json")
    for target in ("/etc/passwd", "../../manifest.json", "deep/../../../x"):
        (kata / f"whale/sandbox/to-{target.replace('/', '-')}").symlink_to(target)
    assert walked(kata) == before


def test_links_that_stay_in_their_sandbox_are_part_of_it(kata: Path) -> None:
    (kata / "whale/sandbox/deep/link").symlink_to("../other")
    (found,) = [found for found in tree.walk(kata) if found.path.name == "link"]
    assert found.target == "../other"


def test_what_goes_while_it_is_walked_is_left_out(kata: Path) -> None:
    for found in tree.walk(kata):
        if found.path.name == "whale":
            (kata / "whale/sandbox/deep/file").unlink()
            (kata / "whale/sandbox/deep").rmdir()
    assert walked(kata)[-1] == "whale/sandbox"


def test_a_folder_that_becomes_a_link_while_it_is_walked_is_not_followed(
    kata: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/secret").touch()
    seen = []
    for found in tree.walk(kata):
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
