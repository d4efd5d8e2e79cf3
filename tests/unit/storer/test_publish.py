"""Publishing a kata that is interrupted at any moment leaves the old kata or the new one, whole."""

import os
import shutil
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest

from dojo import locks
from storer.katas import publish

OLD = {"manifest.json": "old", "bear/manifest.json": "old bear", "whale/manifest.json": "old whale"}
NEW = {"manifest.json": "new", "whale/manifest.json": "new whale", "zebra/a/b": "new zebra"}

# Publishes in each subfolder of a folder, each in a process of its own. The first process dies at
# its first system call that changes a name, the second at its second, and so on.
PUBLISH = """
import os, signal, sys
from pathlib import Path
from storer.katas import publish

def published(folder, dies_at):
    seen = 0

    def audit(event, arguments):
        nonlocal seen
        if event in {"os.rename", "os.mkdir", "os.rmdir", "os.remove"}:
            seen += 1
            if seen == dies_at:
                os.kill(os.getpid(), signal.SIGKILL)

    with publish.staging(folder) as staged:
        for name, text in NEW.items():
            (staged.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (staged.folder / name).write_text(text)
        sys.addaudithook(audit)
        publish.publish(staged, folder)
        os._exit(0)

for dies_at, folder in enumerate(sorted(Path(sys.argv[1]).iterdir()), 1):
    child = os.fork() or published(folder, dies_at)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
STEPS = 40  # more than publishing takes


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def read(folder: Path) -> dict[str, str]:
    """Return the visible files in a kata's folder."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and not path.relative_to(folder).parts[0].startswith(".")
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "kata"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("before", [OLD, {}], ids=["instead of another", "where there is none"])
def test_killed_at_any_step_publishing_is_complete_or_has_not_happened(
    tmp_path: Path, before: dict[str, str]
) -> None:
    folders = [tmp_path / f"{step:02}" for step in range(STEPS)]
    for folder in folders:
        folder.mkdir()
        write(folder, before)
    command = [sys.executable, "-c", f"NEW = {NEW!r}\n{PUBLISH}", str(tmp_path)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    codes = [int(line) for line in output.split()]
    steps = codes.index(0)
    assert codes == [-signal.SIGKILL] * steps + [0] * (STEPS - steps)
    found = []
    for folder in folders:
        # A manifest is visible only together with a whole kata.
        visible = read(folder)
        if "manifest.json" in visible:
            assert visible in (before, NEW)
        publish.recover(folder)
        assert not publish.is_staged(folder)
        assert not publish.is_interrupted(folder)
        found.append(read(folder))
        assert set(os.listdir(folder)) == {name.split("/")[0] for name in found[-1]}
    happened = found.index(NEW)
    assert 0 < happened < steps
    assert found == [before] * happened + [NEW] * (STEPS - happened)


def test_an_interrupted_recovery_is_completed_by_the_next(folder: Path) -> None:
    write(folder, OLD)
    (folder / publish.COMPLETE).mkdir()
    write(folder / publish.COMPLETE, NEW)
    (folder / publish.REPLACED).mkdir()
    (folder / "manifest.json").rename(folder / publish.REPLACED / "manifest.json")
    for name in ("bear", "whale"):  # a crash can follow each step
        (folder / name).rename(folder / publish.REPLACED / name)
        copy = folder.parent / f"after {name}"
        shutil.copytree(folder, copy)
        publish.recover(copy)
        assert read(copy) == NEW


@pytest.mark.parametrize("step", range(7))
def test_a_folder_that_a_starting_container_makes_meanwhile_goes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """A container of a run makes its working folder when it starts, if there is none."""
    write(folder, OLD)
    rename, renames = Path.rename, count()

    def renamed(path: Path, target: Path) -> Path:
        if next(renames) == step:
            (folder / "whale" / "sandbox").mkdir(parents=True, exist_ok=True)
        return rename(path, target)

    with publish.staging(folder) as staged:
        write(staged.folder, NEW)
        monkeypatch.setattr(Path, "rename", renamed)
        publish.publish(staged, folder)
    assert next(renames) > step
    assert read(folder) == NEW
    assert not publish.is_interrupted(folder)
    assert not (folder / "whale" / "sandbox").exists()


def test_a_publish_that_such_a_folder_interrupted_is_completed(folder: Path) -> None:
    write(folder / publish.MOVING, NEW)
    write(folder / publish.REPLACED, OLD)
    (folder / "whale" / "sandbox").mkdir(parents=True)
    publish.recover(folder)
    assert read(folder) == NEW


def test_a_failed_publish_leaves_the_old_kata(folder: Path) -> None:
    write(folder, OLD)
    (folder / publish.COMPLETE / "in the way").mkdir(parents=True)
    with publish.staging(folder) as staged:
        write(staged.folder, NEW)
        with pytest.raises(OSError, match="not empty"):
            publish.publish(staged, folder)
    assert read(folder) == OLD
    publish.recover(folder)
    assert read(folder) == OLD
    assert not publish.is_interrupted(folder)


def test_a_staged_kata_that_is_not_published_is_removed(folder: Path) -> None:
    write(folder, OLD)
    with publish.staging(folder) as staged:
        write(staged.folder, NEW)
        assert publish.is_staged(folder)
        assert read(folder) == OLD
    assert sorted(os.listdir(folder)) == ["bear", "manifest.json", "whale"]
    assert not publish.is_interrupted(folder)


def test_only_what_a_dead_process_staged_is_removed(folder: Path) -> None:
    left = folder / f"{publish.INCOMING}left"
    left.mkdir()
    with publish.staging(folder) as staged:
        assert publish.is_staged(folder)
        assert not left.exists()
        assert staged.folder.exists()
    with locks.locked(folder):
        assert not publish.is_staged(folder)


def test_a_hidden_kata_is_invisible_and_counts_as_interrupted(folder: Path) -> None:
    write(folder, OLD)
    publish.hide(folder)
    assert read(folder) == {}
    assert publish.is_interrupted(folder)
    publish.clear_hidden(folder)
    assert publish.is_interrupted(folder)
    assert [path.read_text() for path in folder.iterdir() if path.is_file()] == ["old"]


def test_a_kata_that_is_published_over_a_hidden_one_replaces_it(folder: Path) -> None:
    write(folder, OLD)
    publish.hide(folder)
    with publish.staging(folder) as staged:
        write(staged.folder, NEW)
        publish.publish(staged, folder)
    assert read(folder) == NEW
    assert not publish.is_interrupted(folder)
