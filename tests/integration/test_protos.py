"""`make lint-protos` allows additions to the protos, and refuses what breaks callers."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support.paths import TOP

STORER = Path("cyberdojo/storer/v1/storer.proto")


def make(target: str, contract: Path) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", target, f"contract={contract}"]
    return subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)


@pytest.fixture
def contract(tmp_path: Path) -> Path:
    """A copy of the protos, without a release."""
    copy = tmp_path / "protos"
    shutil.copytree(TOP / "protos", copy, ignore=shutil.ignore_patterns("*.binpb"))
    return copy


@pytest.fixture
def edit(contract: Path) -> Callable[[str, str], None]:
    """Replaces a text in the copy's storer.proto, and asserts that the text was there."""

    def edit(old: str, new: str) -> None:
        proto = contract / STORER
        text = proto.read_text()
        assert old in text
        proto.write_text(text.replace(old, new))

    return edit


def test_before_the_first_release_any_change_is_allowed(
    contract: Path, edit: Callable[[str, str], None]
) -> None:
    edit("bytes state = 2;", "bytes content = 22;")
    checked = make("lint-protos", contract)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_after_a_release_a_change_that_breaks_callers_is_refused(
    contract: Path, edit: Callable[[str, str], None]
) -> None:
    assert make("release-protos", contract).returncode == 0
    edit("bytes state = 2;", "bytes content = 22;")
    checked = make("lint-protos", contract)
    assert checked.returncode != 0
    assert f"{STORER}:" in checked.stdout
    assert 'Previously present field "2" with name "state"' in checked.stdout


def test_after_a_release_additions_are_allowed(
    contract: Path, edit: Callable[[str, str], None]
) -> None:
    assert make("release-protos", contract).returncode == 0
    edit(
        "bytes state = 2;", "bytes state = 2;\n  // Added after the release.\n  bool added = 9000;"
    )
    checked = make("lint-protos", contract)
    assert checked.returncode == 0, checked.stdout + checked.stderr
