"""Two things at once."""

import threading

import pytest

from dojo.background_task import meanwhile
from dojo.errors import DiskFull, EngineUnavailable


def fail() -> None:
    raise EngineUnavailable("it does not answer")


def test_the_work_goes_on_during_the_block_and_ends_before_it() -> None:
    begun, told, done = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert told.wait(60)
        done.set()

    with meanwhile(work):
        assert begun.wait(60)
        told.set()
    assert done.is_set()


def test_what_the_work_raises_is_raised_at_the_end() -> None:
    told: list[str] = []
    with pytest.raises(EngineUnavailable), meanwhile(fail):
        told.append("all of it")
    assert told


def test_what_the_block_raises_comes_first() -> None:
    with pytest.raises(DiskFull), meanwhile(fail):
        raise DiskFull("no room")
