"""What a caller of the tests can ask for, and what holds for all of them."""

import signal

import pytest

from support import test_run

MAX_NAME = 2000  # characters, of a test's


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
    if not hasattr(config, "workerinput"):
        test_run.begin()
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse names of tests that are too long: each program that a test starts is given its name.

    Whichever test came first in a process, and so started what all share, would fail them all.
    """
    long = [item.nodeid[:200] for item in items if len(item.nodeid) > MAX_NAME]
    if long:
        raise pytest.UsageError(f"give shorter ids to {long[0]}")
