"""A task that runs in the background of a block."""

import threading

import pytest

from dojo.background_task import background_task
from dojo.errors import DiskFull, EngineUnavailable


def fail() -> None:
    raise EngineUnavailable("it does not answer")


def test_the_task_runs_during_the_block_which_waits_for_it() -> None:
    begun, released, done = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert released.wait(60)
        done.set()

    with background_task(work):
        assert begun.wait(60)
        released.set()
    assert done.is_set()


def test_an_error_of_the_task_is_raised_at_the_end() -> None:
    steps: list[str] = []
    with pytest.raises(EngineUnavailable), background_task(fail):
        steps.append("the block ran")
    assert steps


def test_an_error_of_the_block_comes_first() -> None:
    with pytest.raises(DiskFull), background_task(fail):
        raise DiskFull("no room")
