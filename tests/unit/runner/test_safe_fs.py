"""Walking, reading and removing folders of a hostile program never leaves them."""

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
    """A file outside of the folder."""
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


def test_only_regular_files_are_read_and_nothing_blocks(folder: Path) -> None:
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


def test_each_folder_comes_before_its_entries(folder: Path) -> None:
    (folder / "a/b").mkdir(parents=True)
    (folder / "a/b/c").touch()
    (folder / "d").touch()
    found = walked(folder)
    assert sorted(found) == ["a", "a/b", "a/b/c", "d"]
    assert found.index("a") < found.index("a/b") < found.index("a/b/c")


def test_folders_that_are_too_deep_are_reported_and_not_entered(folder: Path) -> None:
    with deep_folders(folder, MAX_DEPTH + 10):
        found = walked(folder)
    assert len(found) == MAX_DEPTH
    assert [safe_fs.is_too_deep(path) for path in found] == [False] * (MAX_DEPTH - 1) + [True]


def test_trees_of_any_depth_are_removed_and_the_targets_of_links_stay(
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


def test_a_link_is_removed_and_its_target_stays(folder: Path, secret: Path) -> None:
    (folder / "link").symlink_to(secret.parent)
    (folder / "file").touch()
    with safe_fs.opened(folder.parent) as outside, safe_fs.opened(folder) as top:
        for name in ("link", "file"):
            TreeRemover(outside).remove(name, top)
    assert walked(folder) == []
    assert secret.exists()


def test_the_next_process_removes_what_a_killed_one_moved_away(folder: Path) -> None:
    left = folder.parent / TreeRemover.NAME / "0123"
    (left / "a/b").mkdir(parents=True)
    (left / "a/c").touch()
    with safe_fs.opened(folder.parent) as outside:
        TreeRemover(outside).finish()
        TreeRemover(outside).finish()
    assert os.listdir(folder.parent) == [folder.name]


def test_a_walk_never_leaves_a_folder_that_keeps_changing(folder: Path, secret: Path) -> None:
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
