"""A history in a file is the same when it is read, and can be judged again."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.histories import history_file
from support.histories.attempts import Attempt, Outcome, Reading, Seen, read
from support.histories.simulated.clients import Habits, play
from support.histories.simulated.script import KATA, Script
from support.paths import TOP


@given(random=st.randoms(use_true_random=False))
def test_what_was_written_is_read(random: Random, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "history.jsonl"
    history = play(random, 20, Habits(started=2))
    history_file.write(path, history.attempts, history.final)
    attempts, final = history_file.read(path)
    assert attempts == sorted(history.attempts, key=lambda each: each.sent)
    assert final == history.final


def test_what_is_unusual_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    shown = Reading({"whale": Seen(3, {1: "one"}, (2,))}, "files", ("zebra",))
    attempts = [
        Attempt(read(KATA), 1, math.inf, Outcome.UNKNOWN, client="é"),
        Attempt(read(KATA), 2, 3, Outcome.ACKNOWLEDGED, shown),
    ]
    history_file.write(path, attempts)
    assert history_file.read(path) == (attempts, [])
    assert len(path.read_text().splitlines()) == 2


def test_what_no_attempt_can_be_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    script = Script()
    script.create()
    history_file.write(path, [replace(script.attempts[0], answer=7)])
    with pytest.raises(ValueError, match="of another call"):
        history_file.read(path)


@pytest.mark.parametrize(("options", "code"), [((), 1), (("--stale-reads",), 0)])
def test_a_file_is_judged_by_a_command(tmp_path: Path, options: tuple[str, ...], code: int) -> None:
    path = tmp_path / "history.jsonl"
    script = Script()
    script.create()
    script.start("whale")
    script.record("whale", 1)
    script.read("whale", 0)
    script.end(whale=1)
    history_file.write(path, script.attempts, script.final)
    done = subprocess.run(
        [sys.executable, "-m", "support.histories", path, *options],
        cwd=TOP / "tests",
        env={"PYTHONPATH": str(TOP)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (code, "")
    assert ("light 1 of whale was recorded by" in done.stdout) == bool(code)
    assert ("nothing is wrong" in done.stdout) != bool(code)
