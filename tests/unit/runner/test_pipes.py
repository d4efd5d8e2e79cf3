"""The end of a run: its first process, whoever still holds its pipes."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.launch.init_process import InitProcess
from runner.run import entrypoint
from runner.run.pipes import Pipes
from runner.run.streams import ERR, OUT
from runner.run.watchdog import EndedBy, Watchdog
from runner.sandbox import safe_fs

# Opens the pipes as a container does, and has a process outside of "the container" keep them.
SCRIPT = """
exec 3>"$0/out" 4>"$0/err" 5>"$0/status" <"$0/in"
echo ready >&5
read -r go
{keeper} </dev/null &
echo "$!" >"$1"
echo hello >&3
echo 0 >&5
"""
KEEPS_OUTPUT = "sleep 1000 >&3 2>/dev/null 4>&- 5>&-"
KEEPS_ALL_AND_WRITES = "yes >&3 2>/dev/null"
LIMIT_SECONDS = 30


@pytest.fixture
def pipes(tmp_path: Path) -> Iterator[Pipes]:
    """The pipes of a run, which belong to the group of the tests."""
    with safe_fs.opened(tmp_path) as folder:
        made = Pipes(folder, os.getgid())
    yield made
    made.close()
    keeper = tmp_path / "keeper"
    if keeper.exists():
        os.kill(int(keeper.read_text()), 9)


def started(script: str, pipes: Pipes, folder: Path) -> "subprocess.Popen[bytes]":
    """Start a program that stands for a container's first process."""
    return subprocess.Popen(
        ["sh", "-c", script, str(folder / pipes.folder_name), str(folder / "keeper")]
    )


@pytest.mark.parametrize("sees_the_process", [True, False])
@pytest.mark.parametrize("keeper", [KEEPS_OUTPUT, KEEPS_ALL_AND_WRITES])
def test_a_run_ends_with_its_first_process_whoever_holds_its_pipes(
    pipes: Pipes, tmp_path: Path, keeper: str, *, sees_the_process: bool
) -> None:
    with started(SCRIPT.replace("{keeper}", keeper), pipes, tmp_path) as program:
        assert pipes.wait_until_ready(LIMIT_SECONDS, lambda: False)
        process = InitProcess(os.pidfd_open(program.pid))
        watchdog = Watchdog(process.kill, lambda: None, LIMIT_SECONDS)
        received = bytearray()
        begun = time.monotonic()
        watchdog.begin()
        pipes.tell(entrypoint.GO)
        on_data = {OUT: received.extend, ERR: received.extend}
        pipes.follow(
            on_data,
            watchdog.check,
            process if sees_the_process else None,
            process.has_ended,
        )
        process.close()
    assert b"hello\n" in received
    assert (pipes.status, watchdog.ended_by) == (0, EndedBy.ITSELF)
    assert time.monotonic() - begun < LIMIT_SECONDS / 2


def test_what_is_in_the_pipes_at_the_end_of_a_run_is_read(pipes: Pipes, tmp_path: Path) -> None:
    script = SCRIPT.replace("{keeper}", KEEPS_OUTPUT).replace("hello", "x" * 60_000)
    with subprocess.Popen(
        ["sh", "-c", script, str(tmp_path / pipes.folder_name), str(tmp_path / "keeper")]
    ) as program:
        assert pipes.wait_until_ready(LIMIT_SECONDS, lambda: False)
        process = InitProcess(os.pidfd_open(program.pid))
        pipes.tell(entrypoint.GO)
        program.wait(LIMIT_SECONDS)  # nothing is read before the end
        received = bytearray()
        on_data = {OUT: received.extend, ERR: received.extend}
        pipes.follow(on_data, lambda: LIMIT_SECONDS, process, process.has_ended)
        process.close()
    assert received == b"x" * 60_000 + b"\n"
    assert pipes.status == 0
