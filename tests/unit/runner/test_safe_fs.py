"""Folders that a hostile program wrote: walked, read and removed without following it anywhere."""

import os
import stat
import threading
from pathlib import Path

import pytest

from runner.sandbox import safe_fs
from runner.sandbox.safe_fs import MAX_DEPTH, TreeRemover
from support.deep_folders import deep_folders


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Something outside of the folder."""
    (tmp_path / "outside").mkdir()
    secret = tmp_path / "outside" / "secret"
    secret.write_bytes(b"secret")
    return secret


def read(folder: Path, path: str, limit: int = 100) -> bytes | None:
    with (
        safe_fs.opened(folder) as top,
        safe_fs.opened_parent(path, top) as place,
    ):
        return None if place is None else safe_fs.read(place[1], place[0], limit)


def walked(folder: Path) -> list[str]:
    with safe_fs.opened(folder) as top:
        return [entry.path for entry in safe_fs.walk(top)]


def test_a_file_is_read_up_to_a_limit(folder: Path) -> None:
    (folder / "a").mkdir()
    (folder / "a/file").write_bytes(b"0123456789")
    assert read(folder, "a/file") == b"0123456789"
    assert read(folder, "a/file", 4) == b"0123"
    assert read(folder, "a/file", 0) == b""


def test_what_is_no_file_is_not_read_and_nobody_waits_for_it(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    os.mknod(folder / "socket", stat.S_IFSOCK | 0o600)
    for name in ("pipe", "folder", "socket", "none", "none/none", "pipe/x"):
        assert read(folder, name) is None


def test_links_are_not_followed(folder: Path, secret: Path) -> None:
    (folder / "link").symlink_to(secret)
    (folder / "up").symlink_to(secret.parent)
    (folder / "loop").symlink_to("loop")
    for name in ("link", "up/secret", "loop", "loop/x"):
        assert read(folder, name) is None
    assert sorted(walked(folder)) == ["link", "loop", "up"]
    for name in ("link", "up", "none"):
        with (
            pytest.raises(OSError, match=r"directory|No such|symbolic"),
            safe_fs.opened(folder / name),
        ):
            pass


def test_each_folder_comes_before_what_it_holds(folder: Path) -> None:
    (folder / "a/b").mkdir(parents=True)
    (folder / "a/b/c").touch()
    (folder / "d").touch()
    found = walked(folder)
    assert sorted(found) == ["a", "a/b", "a/b/c", "d"]
    assert found.index("a") < found.index("a/b") < found.index("a/b/c")


def test_what_is_too_deep_is_told_and_not_entered(folder: Path) -> None:
    with deep_folders(folder, MAX_DEPTH + 10):
        found = walked(folder)
    assert len(found) == MAX_DEPTH
    assert [safe_fs.is_too_deep(path) for path in found] == [False] * (MAX_DEPTH - 1) + [True]


def test_whole_trees_are_removed_however_deep_and_what_links_lead_to_stays(
    folder: Path, secret: Path
) -> None:
    with deep_folders(folder, 500):
        (folder / "d/link").symlink_to(secret.parent)
        (folder / "d/file").touch()
        os.mkfifo(folder / "d/pipe")
        with safe_fs.opened(folder.parent) as outside, safe_fs.opened(folder) as top:
            remover = TreeRemover(outside)
            for name in ("d", "none"):
                remover.remove(name, top)
        assert walked(folder) == []
    assert os.listdir(folder.parent) == [folder.name]
    assert secret.read_bytes() == b"secret"


def test_a_link_or_a_file_is_removed_and_not_what_it_leads_to(folder: Path, secret: Path) -> None:
    (folder / "link").symlink_to(secret.parent)
    (folder / "file").touch()
    with safe_fs.opened(folder.parent) as outside, safe_fs.opened(folder) as top:
        for name in ("link", "file"):
            TreeRemover(outside).remove(name, top)
    assert walked(folder) == []
    assert secret.exists()


def test_what_a_killed_process_moved_away_is_removed_by_the_next(folder: Path) -> None:
    left = folder.parent / TreeRemover.NAME / "0123"
    (left / "a/b").mkdir(parents=True)
    (left / "a/c").touch()
    with safe_fs.opened(folder.parent) as outside:
        TreeRemover(outside).finish()
        TreeRemover(outside).finish()
    assert os.listdir(folder.parent) == [folder.name]


def test_a_folder_that_changes_while_it_is_walked_is_never_left(folder: Path, secret: Path) -> None:
    (folder / "turn").mkdir()
    stop = threading.Event()

    def exchange() -> None:
        while not stop.is_set():
            (folder / "turn").rmdir()
            (folder / "turn").symlink_to(secret.parent)
            (folder / "turn").unlink()
            (folder / "turn").mkdir()

    turning = threading.Thread(target=exchange)
    turning.start()
    try:
        for _ in range(2000):
            assert read(folder, "turn/secret") is None
            assert set(walked(folder)) <= {"turn"}
    finally:
        stop.set()
        turning.join()
