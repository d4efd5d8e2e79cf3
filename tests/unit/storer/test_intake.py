"""A kata is taken in alike in the storer's own process and, if it is large, in another."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from dojo import limits
from dojo.errors import KataDamaged
from dojo.processes import Processes
from storer import metrics
from storer.kata.kata import Kata
from storer.katas.intake import Intake
from support.fuzz import katas
from support.processes import children_of

Write = Callable[[katas.Files], Path]
Change = Callable[[pytest.MonkeyPatch, Path], None]


@pytest.fixture
def processes() -> Iterator[Processes]:
    """One process, which is ended at the end."""
    found = Processes(1, "check katas")
    yield found
    found.stop()


@pytest.fixture
def intake(processes: Processes) -> Intake:
    """What takes katas in."""
    return Intake(processes)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes the files of a kata."""

    def write(files: katas.Files) -> Path:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return tmp_path

    return write


def _nothing(_: pytest.MonkeyPatch, __: Path) -> None:
    """Leave a small kata as it is."""


def _large_sandbox(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(limits, "SMALL_CHECKED_BYTES", 100_000)
    (folder / "whale/sandbox/product").write_bytes(bytes(100_001))


def _many_files(monkeypatch: pytest.MonkeyPatch, _: Path) -> None:
    monkeypatch.setattr(limits, "SMALL_CHECKED_FILES", 10)


def _many_bytes(monkeypatch: pytest.MonkeyPatch, _: Path) -> None:
    monkeypatch.setattr(limits, "SMALL_CHECKED_BYTES", 100)


def _packed(_: pytest.MonkeyPatch, folder: Path) -> None:
    made = katas.avatar()
    packed = made.repository.packed({})
    for name, content in packed.items():
        path = folder / "whale/.git" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("change", "is_large"),
    [
        (_nothing, False),
        (_large_sandbox, False),
        (_many_files, True),
        (_many_bytes, True),
        (_packed, True),
    ],
)
def test_a_large_kata_is_taken_in_by_another_process(
    intake: Intake,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    change: Change,
    *,
    is_large: bool,
) -> None:
    folder = write(katas.files_of({"whale": katas.avatar()}))
    (folder / "whale/sandbox").mkdir(exist_ok=True)
    change(monkeypatch, folder)
    before = set(children_of(os.getpid()))
    assert intake.take(folder, katas.KATA) == ["whale"]
    assert bool(set(children_of(os.getpid())) - before) == is_large
    lights, damaged = Kata.detached(folder, katas.KATA).lights()
    assert not damaged
    assert len(lights["whale"]) == len(katas.LIGHTS)


def test_of_many_small_katas_most_are_taken_in_by_another_process(
    processes: Processes, write: Write
) -> None:
    folder = write(katas.files_of({"whale": katas.avatar()}))
    times = iter([0.0, 1.0, 9.9, 10.0, 12.0])
    intake = Intake(processes, lambda: next(times))
    before = set(children_of(os.getpid()))

    def is_taken_here() -> bool:
        assert intake.take(folder, katas.KATA) == ["whale"]
        started = set(children_of(os.getpid())) - before
        processes.stop()
        return not started

    assert [is_taken_here() for _ in range(3)] == [True, False, True]


@pytest.mark.parametrize("change", [_nothing, _many_files])
def test_who_is_set_aside_is_counted_and_logged(
    intake: Intake, write: Write, monkeypatch: pytest.MonkeyPatch, change: Change
) -> None:
    files = katas.files_of({"whale": katas.avatar(), "zebra": katas.avatar()})
    folder = write({**files, "zebra/.git/HEAD": b"junk"})
    change(monkeypatch, folder)
    before = metrics.AVATARS_SET_ASIDE._value.get()
    with capture_logs() as logs:
        assert intake.take(folder, katas.KATA) == ["whale", "zebra"]
    assert metrics.AVATARS_SET_ASIDE._value.get() == before + 1
    (logged,) = logs
    assert logged["event"] == "avatar set aside"
    assert (logged["kata"], logged["avatar"]) == (katas.KATA, "zebra")
    assert "branch" in logged["reason"]


@pytest.mark.parametrize("change", [_nothing, _many_files])
def test_a_kata_without_a_usable_manifest_is_refused(
    intake: Intake, write: Write, monkeypatch: pytest.MonkeyPatch, change: Change
) -> None:
    folder = write({**katas.files_of({"whale": katas.avatar()}), "manifest.json": b"{"})
    change(monkeypatch, folder)
    with pytest.raises(KataDamaged, match=r"manifest\.json"):
        intake.take(folder, katas.KATA)
