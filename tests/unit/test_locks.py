"""Locks on folders and files, between threads and processes."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dojo import locks
from support.services import wait_until

HOLD = """
import sys
from pathlib import Path
from dojo import locks
with locks.locked(Path(sys.argv[1]), shared=sys.argv[2] == "shared"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process(path: Path, how: str) -> Iterator[subprocess.Popen[str]]:
    """Let another process hold the lock of a folder; the process is killed at the end."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", HOLD, str(path), how]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.mark.parametrize("how", ["shared", "alone"])
def test_a_lock_of_another_process_is_seen_and_ends_with_the_process(
    tmp_path: Path, how: str
) -> None:
    with another_process(tmp_path, how) as process:
        assert locks.is_locked(tmp_path)
        with locks.locked_at_once(tmp_path) as is_held:
            assert not is_held
        with locks.locked_at_once(tmp_path, shared=True) as is_held:
            assert is_held == (how == "shared")
        process.kill()
        with locks.locked(tmp_path):
            assert locks.is_locked(tmp_path)
    assert not locks.is_locked(tmp_path)


def test_shared_locks_can_be_held_together(tmp_path: Path) -> None:
    with (
        locks.locked(tmp_path, shared=True),
        locks.locked(tmp_path, shared=True),
        locks.locked_at_once(tmp_path) as is_held,
    ):
        assert not is_held


def test_a_missing_folder_can_not_be_locked(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    with pytest.raises(FileNotFoundError), locks.locked(gone):
        pass
    with locks.locked_at_once(gone) as is_held:
        assert not is_held
    assert locks.is_locked(gone)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(OSError, match="symbolic"), locks.locked(tmp_path / "link"):
        pass


@pytest.mark.parametrize("then", ["another is there", "none is there"])
def test_a_waiter_gets_the_lock_of_the_folder_that_replaced_a_removed_one_or_none(
    tmp_path: Path, then: str
) -> None:
    folder = tmp_path / "kata"
    folder.mkdir()
    held: list[int | str] = []

    def wait() -> None:
        try:
            with locks.locked(folder):
                held.append(folder.stat().st_ino)
        except FileNotFoundError:
            held.append("none")

    waiting = threading.Thread(target=wait)
    with locks.locked(folder):
        waiting.start()
        wait_until(lambda: is_waiting_for(folder))
        folder.rename(tmp_path / "old")
        if then == "another is there":
            folder.mkdir()
    waiting.join(60)
    assert held == [folder.stat().st_ino if folder.exists() else "none"]


def is_waiting_for(folder: Path) -> bool:
    """Return whether a process or thread waits for the lock of a folder."""
    inode = re.escape(f":{folder.stat().st_ino} ")
    return re.search(f"(?m)^\\d+: -> FLOCK .*{inode}", Path("/proc/locks").read_text()) is not None
