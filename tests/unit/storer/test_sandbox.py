"""What a visible file is compared with in a sandbox, where a program may have put anything."""

import os
from pathlib import Path

import pytest

from storer.kata import sandbox


def test_a_file_with_this_content_is_held(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    assert sandbox.holds(tmp_path / "a", b"one")
    assert not sandbox.holds(tmp_path / "a", b"two")
    assert not sandbox.holds(tmp_path / "a", b"more")


@pytest.mark.parametrize("kind", ["nothing", "folder", "link", "pipe"])
def test_what_is_no_file_holds_nothing_and_leaves_nothing_open(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        (tmp_path / "b").write_bytes(b"")
        path.symlink_to("b")
    elif kind == "pipe":
        os.mkfifo(path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert not sandbox.holds(path, b"")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
