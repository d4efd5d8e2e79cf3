"""Processes of a service's own: what they answer, and that nothing of them remains."""

import contextvars
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dojo import kata_ids, limits, waits
from dojo.errors import (
    InvalidArgument,
    LockHeld,
    ProcessesExhausted,
    ProcessLost,
    ProcessTooLarge,
)
from dojo.processes import Processes
from dojo.waits import CallEnded, CallWork
from support.processes import children_of
from support.services import wait_until

WRITE = "from dojo import process_main; process_main.file().write(b'abc')"
LEAVE = "from dojo import process_main; process_main.leave([b'a', bytes(2**20), b'', b'c'])"
HELD = "from dojo.errors import LockHeld; raise LockHeld('a kata', 'a reason')"
MUCH = "held = bytes(range(256)) * 400_000; import signal; signal.pause()"


Started = Callable[[], set[int]]


@pytest.fixture
def started() -> Started:
    """Returns the processes that a test has started; other tests' services may run beside them."""
    before = set(children_of(os.getpid()))
    return lambda: set(children_of(os.getpid())) - before


@pytest.fixture
def processes(started: Started) -> Iterator[Processes]:
    """One process, which is ended at the end."""
    found = Processes(1, "do such work")
    yield found
    found.stop()
    assert not started()


def test_a_process_returns_what_a_function_returns_and_is_used_again(processes: Processes) -> None:
    first, second = (processes.call(os.getpid) for _ in range(2))
    assert first == second != os.getpid()


def test_an_error_is_raised_as_in_the_process(processes: Processes, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument) as refused:
        processes.call(kata_ids.check, "no id")
    assert refused.value.field == "kata_id"
    with pytest.raises(LockHeld, match="a kata can't be used yet: a reason") as held:
        processes.call(exec, HELD)
    assert held.value.reason == "a reason"
    with pytest.raises(FileNotFoundError):
        processes.call(os.stat, tmp_path / "missing")
    with pytest.raises(UnicodeDecodeError, match="invalid start byte"):
        processes.call(str, b"\xff", "utf-8")
    assert processes.call(math.sqrt, 4) == 2


def test_what_work_leaves_in_the_file_can_be_read_and_is_gone_before_the_next(
    processes: Processes,
) -> None:
    with processes.one() as process:
        process.call(exec, WRITE)
        assert process.written() == b"abc"
        process.call(os.getpid)
        assert process.written() == b""


def test_large_answers_come_in_pieces(processes: Processes) -> None:
    with processes.one() as process:
        process.call(exec, LEAVE)
        pieces = list(process.pieces())
        assert len(pieces) == 2
        assert b"".join(pieces) == b"a" + bytes(2**20) + b"c"
        assert not list(process.pieces())


def test_a_process_yields_to_the_service(processes: Processes) -> None:
    assert processes.call(os.nice, 0) >= os.nice(0) + 10
    assert processes.call(os.sched_getscheduler, 0) == os.SCHED_BATCH


def test_a_process_that_takes_too_much_memory_is_ended(
    processes: Processes, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PROCESS_BYTES", 90 * 1024 * 1024)
    with pytest.raises(ProcessTooLarge):
        processes.call(exec, MUCH)
    assert not started()
    assert processes.call(math.sqrt, 4) == 2


def test_a_process_that_somebody_kills_can_be_replaced(processes: Processes) -> None:
    with pytest.raises(ProcessLost):
        processes.call(signal.raise_signal, signal.SIGKILL)
    assert processes.call(math.sqrt, 4) == 2


def test_a_crash_is_told_as_a_defect(processes: Processes) -> None:
    with pytest.raises(RuntimeError, match="SIGSEGV"):
        processes.call(signal.raise_signal, signal.SIGSEGV)


def test_a_process_ends_with_the_call_that_it_works_for(
    processes: Processes, started: Started
) -> None:
    work = CallWork(lambda: True)
    ended: list[bool] = []

    def call() -> None:
        waits.work_for(work)
        try:
            processes.call(signal.pause)
        except CallEnded:
            ended.append(True)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(call,))
    thread.start()
    wait_until(started)
    work.end()
    thread.join()
    assert ended
    assert not started()


def test_a_call_that_waits_too_long_for_a_process_is_told_to_come_again(
    processes: Processes,
) -> None:
    refusals: list[float] = []

    def call() -> None:
        waits.work_for(CallWork(lambda: True, lock_seconds=0))
        try:
            processes.call(os.getpid)
        except ProcessesExhausted as error:
            refusals.append(error.retry_seconds)

    with processes.one():
        thread = threading.Thread(target=contextvars.copy_context().run, args=(call,))
        thread.start()
        thread.join()
    assert refusals == [ProcessesExhausted.retry_seconds]


def test_a_process_without_work_ends_soon(
    processes: Processes, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dojo.processes._IDLE_SECONDS", 0.1)
    processes.call(os.getpid)
    wait_until(lambda: not started())
