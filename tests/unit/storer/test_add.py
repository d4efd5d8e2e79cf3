"""One start point is added to those that are served; what is wrong is named where it is."""

import shutil
from pathlib import Path

import pytest

from storer.start_points import add as adding
from storer.start_points.checks import Findings
from storer.start_points.start_points import StartPoints
from support.storer.start_points import FILES, a_language, index, own, write

__all__ = ["own"]  # a fixture


@pytest.fixture
def served(own: Path) -> Path:
    """A folder with one language and one exercise, which are served."""
    done = index(own / "languages", own / "exercises")
    assert done.returncode == 0, done.stderr
    return own


@pytest.fixture
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language that is to be added, as a repository."""
    folder = tmp_path_factory.mktemp("operator") / "modula"
    write(folder / "start_point", a_language(display_name="Modula"), FILES)
    (folder / ".git").mkdir()
    return folder


def add(folder: Path, new: Path) -> tuple[list[str], list[str]]:
    """Add a start point; return the names that were added, and the problems."""
    findings = Findings()
    return adding.add(folder, new, findings), findings.problems


def names(served: Path) -> list[str]:
    """Return the languages that are served."""
    return [each.display_name for each in StartPoints(served).list_all("languages")]


def test_a_start_point_is_served_beside_the_others_by_a_storer_that_runs(
    served: Path, new: Path
) -> None:
    storer = StartPoints(served)
    assert [each.display_name for each in storer.list_all("languages")] == ["Pascal, own"]
    assert add(served / "languages", new) == (["Modula"], [])
    assert [each.display_name for each in storer.list_all("languages")] == ["Modula", "Pascal, own"]
    assert storer.get("Modula", "Own").visible_files["hiker.pas"]
    assert not (served / "languages/modula/.git").exists()
    assert (new / ".git").exists()


def test_a_custom_start_point_is_added_as_the_others_are(served: Path, new: Path) -> None:
    (served / "custom").mkdir()
    assert index(served / "custom").returncode == 0
    storer = StartPoints(served)
    assert storer.list_all("custom") == []
    assert add(served / "custom", new) == (["Modula"], [])
    assert storer.get_custom("Modula").visible_files["hiker.pas"]
    assert names(served) == ["Pascal, own"]


def test_what_is_wrong_is_named_where_the_operator_has_it_and_nothing_is_added(
    served: Path, new: Path
) -> None:
    before = sorted(served.rglob("*"))
    manifest = a_language(display_name="Modula", tab_size=99)
    write(new / "start_point", manifest)
    _, (problem,) = add(served / "languages", new)
    assert problem == f"{new}/start_point/manifest.json: tab_size: 99 is not from 1 to 16"
    write(new / "start_point", a_language())
    _, (problem,) = add(served / "languages", new)
    assert problem.startswith(f"{new}/start_point/manifest.json: display_name: pascal is called ")
    shutil.rmtree(new / "start_point")
    _, (problem,) = add(served / "languages", new)
    assert problem.startswith(f"{new}: there is no start point")
    _, (problem,) = add(served / "languages", new / "missing")
    assert problem.startswith(f"{new / 'missing'}: ")
    assert sorted(served.rglob("*")) == before
    assert names(served) == ["Pascal, own"]


def test_no_start_point_replaces_another(served: Path, new: Path) -> None:
    same = new.rename(new.with_name("pascal"))
    _, (problem,) = add(served / "languages", same)
    assert problem.startswith(f"{same}: {served}/languages/pascal exists already")
    assert names(served) == ["Pascal, own"]


def test_what_a_process_that_died_left_is_no_obstacle(served: Path, new: Path) -> None:
    write(served / "languages/.adding", a_language(display_name="Half"))
    assert add(served / "languages", new) == (["Modula"], [])
    assert not (served / "languages/.adding").exists()


def test_only_checking_writes_no_index(own: Path) -> None:
    done = index(Path("--check"), own / "languages", own / "exercises")
    assert (done.returncode, done.stdout) == (0, "")
    assert not list(own.rglob("index.json"))
