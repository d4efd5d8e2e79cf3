"""Logs: what is logged is on standard error and in the file, whole lines, of bounded size."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from dojo.service import log


@pytest.fixture(autouse=True)
def _reset() -> Iterator[None]:
    yield
    structlog.get_config()["processors"][-1]._handler.close()
    structlog.reset_defaults()


def test_events_are_appended_to_the_file_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "storer.log"
    file.write_text('{"event": "before"}\n')
    log.configure("info", file)
    structlog.get_logger().info("kata deleted", kata="7C4E19D2B6")
    structlog.get_logger().debug("too low")
    lines = file.read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["before", "kata deleted"]
    assert capsys.readouterr().err == f"{lines[1]}\n"


def test_full_files_are_kept_and_the_oldest_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "FILE_BYTES", 1000)
    monkeypatch.setattr(log, "FORMER_FILES", 2)
    log.configure("info", tmp_path / "a.log")
    for number in range(100):
        structlog.get_logger().info("event", number=number)
    names = ["a.log.2", "a.log.1", "a.log"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    kept = [
        json.loads(line)["number"]
        for name in names
        for line in (tmp_path / name).read_text().splitlines()
    ]
    assert kept == list(range(kept[0], 100))
