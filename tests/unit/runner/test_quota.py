"""The disk space of a sandbox: measured, and reduced to its limits."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.sandbox import quota, safe_fs
from runner.sandbox.file_versions import FileVersion, versions
from runner.sandbox.quota import DiskLimits
from runner.sandbox.sandbox import Sandbox
from support.deep_folders import deep_folders

KIB = 1024
Run = Callable[[], None]


def limits(size_bytes: int = 10**9, files: int = 1000, free: int = 0) -> DiskLimits:
    return DiskLimits(size_bytes=size_bytes, files=files, min_free_bytes=free)


def write(folder: Path, name: str, size: int) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(os.urandom(size))


@pytest.fixture
def before(folder: Path, sandbox: Sandbox) -> dict[str, FileVersion]:
    """The versions of a visible file and of a product of an earlier run, which it creates."""
    sandbox.submit({"hiker.c": b"int a;\n"})
    write(folder, "build/hiker.o", 100 * KIB)
    return versions(sandbox, limits().files)


Before = dict[str, FileVersion]


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_sandbox_below_every_limit_is_left_alone(sandbox: Sandbox, before: Before) -> None:
    assert set(before) == {"hiker.c", "build", "build/hiker.o"}
    assert quota.excess(sandbox, limits()) is None
    quota.shrink(sandbox, before, limits())
    assert versions(sandbox, limits().files) == before


@pytest.mark.usefixtures("before")
def test_each_limit_is_named(sandbox: Sandbox, folder: Path) -> None:
    assert quota.excess(sandbox, limits(size_bytes=50 * KIB)) == (
        f"more than {50 * KIB} bytes on disk in the sandbox"
    )
    assert quota.excess(sandbox, limits(files=2)) == "more than 2 files and folders in the sandbox"
    assert quota.excess(sandbox, limits(free=2**60)) == "the disk is nearly full"
    with deep_folders(folder, safe_fs.MAX_DEPTH):
        assert f"more than {safe_fs.MAX_DEPTH} deep" in (quota.excess(sandbox, limits()) or "")


@pytest.mark.usefixtures("before")
def test_holes_take_no_disk(sandbox: Sandbox, folder: Path) -> None:
    with (folder / "hole").open("wb") as file:
        file.truncate(10**12)
    assert quota.excess(sandbox, limits(size_bytes=1024 * KIB)) is None


def test_the_largest_files_of_the_run_go_first_until_there_is_room(
    sandbox: Sandbox, before: Before, folder: Path
) -> None:
    for number in range(10):
        write(folder, f"small{number}", 8 * KIB)
    write(folder, "large", 800 * KIB)
    write(folder, "larger", 900 * KIB)
    quota.shrink(sandbox, before, limits(size_bytes=1024 * KIB))
    assert not {"large", "larger"} & names(folder)
    assert {"hiker.c", "build/hiker.o", *(f"small{n}" for n in range(10))} <= names(folder)


def test_a_quarter_is_free_for_the_next_run(sandbox: Sandbox, before: Before, folder: Path) -> None:
    for number in range(30):
        write(folder, f"made{number}", 64 * KIB)
    quota.shrink(sandbox, before, limits(size_bytes=1024 * KIB))
    left = sum(path.stat().st_blocks * 512 for path in folder.rglob("*"))
    assert left <= 768 * KIB
    assert len(names(folder)) > 8


def test_files_of_a_run_that_made_too_many_are_removed(
    sandbox: Sandbox, before: Before, folder: Path
) -> None:
    for number in range(60):
        write(folder, f"made/{number // 10}/{number}", 1)
    write(folder, "build/new.o", 1)
    (folder / "hiker.c").write_bytes(b"changed")
    quota.shrink(sandbox, before, limits(files=50))
    # The changed visible file is removed too: the next submission writes it again.
    assert names(folder) == {"build", "build/hiker.o"}


def test_everything_is_removed_if_the_files_before_the_run_exceed_the_limit(
    sandbox: Sandbox, before: Before, folder: Path
) -> None:
    quota.shrink(sandbox, before, limits(size_bytes=50 * KIB))
    assert names(folder) == set()


def test_folders_that_are_too_deep_are_removed_whole(
    sandbox: Sandbox, before: Before, folder: Path
) -> None:
    (folder / ("d/" * 200)).mkdir(parents=True)
    quota.shrink(sandbox, before, limits())
    assert names(folder) == {"hiker.c", "build", "build/hiker.o"}


def test_a_change_is_found_even_if_size_and_time_are_the_same(
    sandbox: Sandbox, before: Before, folder: Path
) -> None:
    status = (folder / "hiker.c").stat()
    (folder / "hiker.c").write_bytes(b"int b;\n")
    os.utime(folder / "hiker.c", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert versions(sandbox, limits().files)["hiker.c"] != before["hiker.c"]
