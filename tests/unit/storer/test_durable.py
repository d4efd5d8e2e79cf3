"""Files that survive a crash, and what is said of a disk that takes no more."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pygit2
import pytest

from dojo.errors import DiskFull, DiskReadOnly
from storer.fs import durable

REPLACE = """
import resource, signal, sys
from pathlib import Path
from storer.fs import durable

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
durable.write(Path(sys.argv[1]), bytes(2000))
"""


@pytest.mark.parametrize("before", [None, b"old"])
def test_a_file_is_written_whole_and_private(tmp_path: Path, before: bytes | None) -> None:
    path = tmp_path / "file"
    if before is not None:
        path.write_bytes(before)
    durable.write(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == durable.PRIVATE
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_that_the_disk_takes_a_part_of_is_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    command = [sys.executable, "-c", REPLACE, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "File too large" in done.stderr
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_what_a_crash_left_is_written_over_and_a_link_is_not_followed(tmp_path: Path) -> None:
    path, new = tmp_path / "file", tmp_path / ".file.new"
    new.write_bytes(b"half of what was to be, and longer")
    durable.write(path, b"new")
    assert path.read_bytes() == b"new"
    (tmp_path / "elsewhere").write_bytes(b"mine")
    new.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        durable.write(path, b"newer")
    assert (tmp_path / "elsewhere").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, DiskFull),
        (errno.EDQUOT, DiskFull),
        (errno.EROFS, DiskReadOnly),
        (errno.EIO, OSError),
    ],
)
def test_a_disk_that_takes_no_more_is_told_in_our_words(number: int, error: type) -> None:
    with pytest.raises(error), durable.translate_disk_errors():
        raise OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("number", "error"), [(errno.ENOSPC, DiskFull), (errno.EIO, pygit2.GitError)]
)
def test_so_it_is_when_libgit2_tells_of_it(number: int, error: type) -> None:
    with pytest.raises(error), durable.translate_disk_errors():
        raise pygit2.GitError(f"failed to write: {os.strerror(number)}")


def test_two_files_take_each_others_names_or_nothing_happens(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"1")
    assert not durable.exchange(str(one), str(other))
    other.write_bytes(b"2")
    assert durable.exchange(str(one), str(other))
    assert (one.read_bytes(), other.read_bytes()) == (b"2", b"1")
