"""`cyber-dojo import --all` and `verify`: what they say of many katas adds up."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dojo.engine.data_containers import DataContainers
from support.commands import CommandLine
from support.services import Service
from support.storer.damages import write_kata

SOUND = ("7C4E19D2B6", "7C4E19D2B7")
WITHOUT_MANIFEST = ("60B2C95E04", "60B2C95E05")
WITH_A_BAD_ONE = "18A6F2C4E0"


@pytest.fixture
def line(
    elsewhere: DataContainers, start_storer: Callable[..., Service], tmp_path: Path
) -> CommandLine:
    """A command line whose storer has a katas directory and an archive of its own."""
    directory = tmp_path / "katas"
    directory.mkdir()
    for kata_id in (*SOUND, *WITHOUT_MANIFEST, WITH_A_BAD_ONE):
        made = write_kata(tmp_path / kata_id)
        folder = directory / kata_id[:2] / kata_id[2:]
        folder.parent.mkdir(exist_ok=True)
        shutil.copytree(made, folder)
        manifest = folder / "manifest.json"
        manifest.write_text(manifest.read_text().replace(f"{made.parent.name}{made.name}", kata_id))
        if kata_id in WITHOUT_MANIFEST:
            manifest.write_bytes(b"{")
        if kata_id == WITH_A_BAD_ONE:
            manifest.write_bytes(b"[]")
    service = start_storer(
        CYBER_DOJO_NAMESPACE=elsewhere.namespace.name,
        CYBER_DOJO_KATAS_DIRECTORY=str(directory),
        CYBER_DOJO_ARCHIVE=str(tmp_path / "archive"),
    )
    return CommandLine(service.address, tmp_path)


def test_all_katas_are_imported_and_those_that_are_not_are_summed_up_by_reason(
    line: CommandLine,
) -> None:
    done = line.run("import", "--all")
    assert done.code == 6
    assert done.text == "2 katas imported\n"
    first, second = done.complaint.splitlines()
    assert first.startswith("cyber-dojo: 2 katas not imported: manifest.json")
    assert first.endswith(": " + ", ".join(WITHOUT_MANIFEST))
    assert second.startswith("cyber-dojo: 1 kata not imported: manifest.json")
    assert second.endswith(f": {WITH_A_BAD_ONE}")
    again = line.run("import", "--all", "--json")
    assert {each["id"] for each in again.records()} == {*WITHOUT_MANIFEST, WITH_A_BAD_ONE}
    assert "not imported" in again.complaint
    for arguments in (["import"], ["import", SOUND[0], "--all"], ["import", "--all", "--undelete"]):
        assert line.run(*arguments).code == 2


def test_the_counts_of_a_verification_add_up_to_the_katas_that_are_listed(
    line: CommandLine, elsewhere: DataContainers
) -> None:
    assert line.run("import", *SOUND).code == 0
    assert line.run("archive", SOUND[0]).code == 0
    for arguments in ([], ["--skip-archive"]):
        *_, summary = line.run("verify", "--json", *arguments).records()
        everything = line.run("ls", "--json", "id").records()
        assert summary["katas"] + summary["left_out"] == len(everything) == 5
        assert summary["archived"] == (0 if arguments else 1)
    text = line.run("verify").text
    assert "2 katas (1 in the archive), " in text
    assert "left out: 3 katas only in the katas directory\n" in text

    # One cause, however many files it shows in, is one line.
    objects = elsewhere.folder(SOUND[1]).glob("*/.git/objects/??/*")
    avatars = {path.relative_to(elsewhere.folder(SOUND[1])).parts[0] for path in objects}
    for avatar in avatars:
        shutil.rmtree(elsewhere.folder(SOUND[1]) / avatar / ".git" / "objects")
        (elsewhere.folder(SOUND[1]) / avatar / ".git" / "objects").mkdir()
    found = line.run("verify", SOUND[1])
    assert found.code == 1
    lines = [each for each in found.text.splitlines() if each.startswith("history")]
    records = line.run("verify", SOUND[1], "--json").records()
    assert len(lines) < len([each for each in records if each.get("kind") == "history"])
    assert any("more like it" in each for each in lines)


def test_an_archive_of_an_earlier_version_gets_its_index_in_one_line(
    line: CommandLine, tmp_path: Path
) -> None:
    assert line.run("import", *SOUND).code == 0
    assert line.run("archive", *SOUND).code == 0
    shutil.rmtree(tmp_path / "archive" / ".index")
    found = line.run("verify", "--mend").text.splitlines()
    assert found[0].startswith(f"stale      {SOUND[0]}: its entry in the index of the archive ")
    assert found[0].endswith(", and 1 more like it  mended")
    assert found[1].startswith("2 katas (2 in the archive), ")
    assert line.run("verify").text.splitlines()[0].endswith(": all as it should be")
