"""What a caller of the tests can ask for, and what holds for all of them."""

import signal
from pathlib import Path

import pytest

from support import machine, test_run
from support.machine import Machine

MAX_NAME = 2000  # characters, of a test's

_BEFORE = pytest.StashKey[Machine]()
_CHANGES = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let somebody ask for what takes long: all languages, many kills."""
    parser.addoption(
        "--all-languages",
        action="store_true",
        help="test the start points of all languages, in the images of `make images-all`, "
        "and not only of those in images/suite.txt",
    )
    parser.addoption(
        "--kills",
        type=int,
        default=20,
        help="how often a storer under load is killed",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Have what the tests start be interruptible, though a shell's background job is not.

    And have the run be told from any other.
    """
    if not _is_worker(config):
        test_run.begin()
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse names of tests that are too long: each program that a test starts is given its name.

    Whichever test came first in a process, and so started what all share, would fail them all.
    """
    long = [item.nodeid[:200] for item in items if len(item.nodeid) > MAX_NAME]
    if long:
        raise pytest.UsageError(f"give shorter ids to {long[0]}")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Look at the machine before anything is started, pytest-xdist's workers included."""
    if not _is_worker(session.config):
        session.config.stash[_BEFORE] = machine.look(_folder(session.config))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run if it changed the machine. The workers have ended."""
    before = session.config.stash.get(_BEFORE, None)
    if before is not None:
        changes = machine.changes_that_stay(before, _folder(session.config))
        session.config.stash[_CHANGES] = changes
        if changes:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Name what the run changed on the machine, and what could not be looked at."""
    for change in config.stash.get(_CHANGES, []):
        terminalreporter.write_line(f"the tests changed the machine: {change}", red=True)
    before = config.stash.get(_BEFORE, None)
    for unseen in before.unseen if before else ():
        terminalreporter.write_line(f"not looked at, before and after: {unseen}", yellow=True)


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _folder(config: pytest.Config) -> Path:
    """Return the folder in which all temporary folders of a run are."""
    folder: Path = config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    return folder
