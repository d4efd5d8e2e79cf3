"""`cyber-dojo status`: how both services are, and where their settings are from."""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dojo.engine.data_containers import DataContainers
from support.commands import CommandLine, Done
from support.services import Service, wait_until
from support.storer.storing import Katas

NOBODY = "127.0.0.1:1"


def status(line: CommandLine, *arguments: str, runner: str = NOBODY) -> Done:
    """Ask how the services are."""
    return line.run("status", *arguments, CYBER_DOJO_RUNNER=runner)


def settings(record: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Return each setting's value and origin."""
    return {each["name"]: (each["value"], each["origin"]) for each in record["settings"]}


def test_both_services_tell_their_version_their_work_and_the_room_that_is_left(
    storer_service: Service, runner_service: Service, katas: Katas, tmp_path: Path
) -> None:
    katas.create()
    line = CommandLine(storer_service.address, tmp_path)
    done = status(line, "--json", runner=runner_service.address)
    assert (done.code, done.complaint) == (0, "")
    storer, runner = done.records()
    assert (storer["service"], runner["service"]) == ("storer", "runner")
    for each in (storer, runner):
        assert each["version"] == version("cyber-dojo")
        assert each["engine_answers"]
        assert 0 < each["disks"][0]["free_bytes"] < each["disks"][0]["size_bytes"]
    assert storer["data_containers"] >= 1
    assert runner["max_running"] >= 1
    text = status(line, runner=runner_service.address).text
    assert f"storer {version('cyber-dojo')} at {storer_service.address}" in text
    assert f"runner {version('cyber-dojo')} at {runner_service.address}" in text


def test_a_service_that_does_not_answer_hides_nothing_of_the_other(
    storer_service: Service, tmp_path: Path
) -> None:
    done = status(CommandLine(storer_service.address, tmp_path), "--json")
    assert done.code == 4
    assert [each["service"] for each in done.records()] == ["storer"]
    assert f"no runner answers at {NOBODY}" in done.complaint


def test_each_setting_has_the_place_that_it_is_from(
    start_storer: Callable[..., Service], elsewhere: DataContainers, tmp_path: Path
) -> None:
    file = tmp_path / "settings"
    file.write_text("CYBER_DOJO_ARCHIVE_AFTER_SECONDS=77\nCYBER_DOJO_MAX_DATA_CONTAINERS=88\n")
    storer = start_storer(
        CYBER_DOJO_NAMESPACE=elsewhere.namespace.name,
        CYBER_DOJO_SETTINGS_FILE=str(file),
        CYBER_DOJO_MAX_DATA_CONTAINERS="99",
    )
    line = CommandLine(storer.address, tmp_path)
    (record,) = status(line, "--json").records()
    found = settings(record)
    assert found["CYBER_DOJO_ARCHIVE_AFTER_SECONDS"] == ("77", "file")
    assert found["CYBER_DOJO_MAX_DATA_CONTAINERS"] == ("99", "environment")
    assert found["CYBER_DOJO_LOG_LEVEL"] == ("info", "default")
    shown = status(line).text
    assert "CYBER_DOJO_ARCHIVE_AFTER_SECONDS=77 (file)" in shown
    assert "CYBER_DOJO_LOG_LEVEL" not in shown
    assert "CYBER_DOJO_LOG_LEVEL=info (default)" in status(line, "--settings").text


def test_the_archives_lag_and_the_last_backup_are_told(
    start_storer: Callable[..., Service],
    elsewhere: DataContainers,
    client: Callable[[Service], Katas],
    tmp_path: Path,
) -> None:
    archive = tmp_path / "archive"
    storer = start_storer(
        CYBER_DOJO_NAMESPACE=elsewhere.namespace.name,
        CYBER_DOJO_ARCHIVE=str(archive),
        CYBER_DOJO_ARCHIVE_COPY_SECONDS="1",
    )
    line = CommandLine(storer.address, tmp_path)

    def record() -> dict[str, Any]:
        (found,) = status(line, "--json").records()
        return found

    katas = client(storer)
    kata_id = katas.started("whale")
    katas.record(kata_id, "whale")
    wait_until(lambda: record()["uncopied_katas"] == 0)
    found = record()
    assert (found["archive"], found["archive_problem"]) == (str(archive), None)
    assert (found["archive_lag_seconds"], found["last_backup"]) == (None, None)
    assert [each["what"] for each in found["disks"]] == ["volumes", "archive"]

    archive.rename(tmp_path / "away")
    katas.record(kata_id, "whale")
    wait_until(lambda: record()["archive_problem"])
    found = record()
    assert found["uncopied_katas"] == 1
    assert found["archive_lag_seconds"] > 0
    assert f"{archive}: 1 kata not copied yet, the oldest for " in status(line).text
    (tmp_path / "away").rename(archive)
    wait_until(lambda: record()["uncopied_katas"] == 0)
    assert record()["archive_problem"] is None

    assert line.run("backup", "-o", "all.tar").code == 0
    backup = record()["last_backup"]
    assert backup["failed"] == 0
    assert f"backup      {backup['finished'][:10]}" in status(line).text


def test_a_port_of_the_settings_is_where_the_commands_look(tmp_path: Path) -> None:
    line = CommandLine("", tmp_path)
    done = line.run("status", CYBER_DOJO_STORER_PORT="1", CYBER_DOJO_RUNNER_PORT="2")
    assert done.code == 4
    assert "no storer answers at 127.0.0.1:1:" in done.complaint
    assert "no runner answers at 127.0.0.1:2:" in done.complaint
