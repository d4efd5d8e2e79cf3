"""The audit log says who did what, when, to which kata, and what came of it."""

import asyncio
import json
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dojo.access import caller
from dojo.access.audit import Audit
from dojo.access.caller import Caller
from dojo.access.roles import Role


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that does not exist yet."""
    return tmp_path / "audit.log"


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_line_says_who_did_what_when_to_which_kata_and_what_came_of_it(file: Path) -> None:
    audit = Audit(file)

    async def call() -> None:
        caller.use(Caller("op", Role.OPERATOR, "192.0.2.1:5"))
        with audit.doing("DeleteKata", kata="493A06504A") as deed:
            await asyncio.to_thread(deed.about.update, stays=False)

    asyncio.run(call())
    (line,) = lines(file)
    assert datetime.now(UTC) >= datetime.fromisoformat(line.pop("time"))
    assert line == {
        "caller": "op",
        "address": "192.0.2.1:5",
        "action": "DeleteKata",
        "outcome": "done",
        "kata": "493A06504A",
        "stays": False,
    }


def test_what_failed_or_was_interrupted_is_there_too(file: Path) -> None:
    audit = Audit(file)
    with pytest.raises(ValueError, match="in use"), audit.doing("ArchiveKata", kata="a"):
        raise ValueError("in use" + "x" * 1000)

    async def stream() -> Any:
        with audit.doing("BackupKatas") as deed:
            deed.about["sent"] = 1
            yield 1
            yield 2

    async def main() -> None:
        parts = stream()
        await anext(parts)
        await parts.aclose()

    asyncio.run(main())
    failed, interrupted = lines(file)
    assert failed["outcome"] == "failed"
    assert failed["reason"].startswith("in use")
    assert len(failed["reason"]) == 500
    assert (interrupted["outcome"], interrupted["sent"]) == ("interrupted", 1)
    assert interrupted["caller"] == "storer"  # as nobody called


def test_the_file_may_be_moved_away(file: Path) -> None:
    audit = Audit(file)
    audit.record("A", "done")
    file.rename(file.with_name("audit.log.1"))
    audit.record("B", "done")
    assert [line["action"] for line in lines(file)] == ["B"]


def test_lines_of_several_threads_stay_whole(file: Path) -> None:
    audit = Audit(file)

    def work() -> None:
        for _ in range(50):
            audit.record("A", "done", kata="k" * 5000)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines(file)) == 200


def test_a_file_that_can_not_be_written_is_told_at_the_start_and_stops_nothing_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(FileNotFoundError):
        Audit(tmp_path / "missing" / "audit.log")
    folder = tmp_path / "there"
    folder.mkdir()
    audit = Audit(folder / "audit.log")
    (folder / "audit.log").unlink()
    folder.rmdir()
    audit.record("DeleteKata", "done", kata="493A06504A")
    said = capsys.readouterr().out
    assert "not audited" in said
    assert "493A06504A" in said


def test_without_a_file_the_log_has_the_lines(capsys: pytest.CaptureFixture[str]) -> None:
    Audit(None).record("DeleteKata", "done", kata="493A06504A")
    assert "action=DeleteKata" in capsys.readouterr().out
