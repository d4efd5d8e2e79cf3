"""`cyber-dojo import` with the directory of a saver."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dojo import kata_ids
from dojo.engine.data_containers import DataContainers
from support.commands import CommandLine
from support.services import Service
from support.storer import saver_katas

GROUP, MEMBER, LONE, DAMAGED = "LyQpFr", "rUqcey", "H8NAvN", "1aBcDe"


@pytest.fixture
def line(
    elsewhere: DataContainers, start_storer: Callable[..., Service], tmp_path: Path
) -> CommandLine:
    """A command line whose storer has a saver's directory with a group and two other katas."""
    saver = tmp_path / "saver"
    session = saver_katas.session_with_edits(MEMBER, "38w9NC", 27, index=26)
    saver_katas.write_group(saver, GROUP, [session], 2)
    saver_katas.write(saver, saver_katas.session_of_runs(LONE), 1)
    saver_katas.write(saver, saver_katas.session_of_runs(DAMAGED), 0)
    (saver_katas.folder_of(saver, "katas", DAMAGED) / "events.json").unlink()
    service = start_storer(
        CYBER_DOJO_NAMESPACE=elsewhere.namespace.name, CYBER_DOJO_SAVER_DIRECTORY=str(saver)
    )
    return CommandLine(service.address, tmp_path)


def test_all_katas_of_a_saver_are_imported_and_the_rest_is_told_by_reason(
    line: CommandLine,
) -> None:
    done = line.run("import", "--all")
    assert done.code == 6
    assert done.text == "2 katas imported\n"
    assert "1 kata not imported: katas/1a/Bc/De/events.json: is missing" in done.complaint
    again = line.run("import", "--all", "--json")  # goes on with those that are left
    (left,) = again.records()
    assert left["id"] == kata_ids.of_old(DAMAGED)


def test_an_old_id_is_imported_and_shown_as_what_it_leads_to(line: CommandLine) -> None:
    kata_id = kata_ids.of_old(GROUP)
    assert line.run("import", MEMBER).text == f"{MEMBER}  imported as {kata_id}, 1 avatar\n"
    again = line.run("import", GROUP).text
    assert again == f"{GROUP}  was here already as {kata_id}, 1 avatar\n"
    assert "green" in line.run("show", kata_id, "koala").text
