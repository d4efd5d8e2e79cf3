"""Options of the test suite, and checks that hold for all tests."""

import os
import signal
from pathlib import Path

import pytest

from dojo.service import settings_file
from support import machine, test_run
from support.machine import Machine

MAX_NAME_LENGTH = 2000  # of a test's name

_BEFORE = pytest.StashKey[Machine]()
_CHANGES = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add options for tests that take long: all languages, many kills."""
    parser.addoption(
        "--all-languages",
        action="store_true",
        help="test the start points of all languages, in the images of `make images-all`, "
        "and not only of those in images/suite.txt",
    )
    parser.addoption(
        "--all-bounds",
        action="store_true",
        help="also send the double of bounds that take minutes and gigabytes to reach",
    )
    parser.addoption(
        "--composed-machines",
        action="store_true",
        help="also start several machines with compose, from the images of `make images`",
    )
    parser.addoption(
        "--machine-faults",
        type=int,
        default=1,
        help="how often something happens to a machine of several, at random",
    )
    parser.addoption(
        "--kills",
        type=int,
        default=20,
        help="how often a storer under load is killed",
    )
    parser.addoption(
        "--case",
        help="try this file in tests/fuzz/test_cases.py, such as build/fuzz/call.json",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Give the run a name, and let Ctrl-C interrupt what the tests start.

    A shell's background job ignores SIGINT, and so would the processes that it starts. The settings
    of an installation in this checkout are not those of the tests.
    """
    os.environ[settings_file.FILE] = os.devnull
    if not _is_worker(config):
        test_run.begin()
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only the long form has, and refuse test names that are too long.

    A test's name is in the environment of the programs that it starts. With a name that is too
    long they would not start, and the services that all tests share would be missing.
    """
    long = [item.nodeid[:200] for item in items if len(item.nodeid) > MAX_NAME_LENGTH]
    if long:
        raise pytest.UsageError(f"give shorter ids to {long[0]}")
    if config.getoption("machine_faults") <= 1:
        left_out = [item for item in items if item.get_closest_marker("long_form")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Record the machine's state before anything is started, even pytest-xdist's workers."""
    if not _is_worker(session.config):
        session.config.stash[_BEFORE] = machine.look(_folder(session.config))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run if it changed the machine. The workers have ended by now."""
    before = session.config.stash.get(_BEFORE, None)
    if before is not None:
        changes = machine.changes_that_stay(before, _folder(session.config))
        session.config.stash[_CHANGES] = changes
        if changes:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Report what the run changed on the machine, and what could not be checked."""
    for change in config.stash.get(_CHANGES, []):
        terminalreporter.write_line(f"the tests changed the machine: {change}", red=True)
    before = config.stash.get(_BEFORE, None)
    for unseen in before.unseen if before else ():
        terminalreporter.write_line(f"not checked before and after: {unseen}", yellow=True)


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _folder(config: pytest.Config) -> Path:
    """Return the folder that has all temporary folders of a run."""
    folder: Path = config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    return folder
