"""The double of each bound is answered as the bound says, and takes a bounded share of memory."""

from collections.abc import Callable, Iterator

import pytest

from dojo import limits
from dojo.engine.data_containers import DataContainers
from support.bounds import calls, comparisons, katas, runs
from support.bounds.pair import Case, Pair
from support.fuzz.watched import World, watched
from support.services import Service
from support.storer.fixtures import delete_all

CASES = {**katas.CASES, **comparisons.CASES, **calls.CASES, **runs.CASES}

_IS_WAIT = "it is how long the service waits, not what a caller sends"
_IS_OURS = "it is what the service gives itself; what callers send is bounded by MAX_COMPARED_*"

# The bounds that no caller can exceed, with the reason.
OUT_OF_REACH = {
    "FREE_DISK_BYTES": "it is what stays free of a disk, whatever callers send; "
    "tests/integration/storer/test_disk_full.py has a disk that is small enough",
    "FREE_DISK_PERCENT": "as FREE_DISK_BYTES",
    "GIT_CHAIN_BYTES": "what comes in is kept without deltas; only earlier versions kept packs",
    "GIT_SECONDS": _IS_WAIT,
    "HELD_ENTRY_BYTES": "it is what each of GIT_OBJECTS takes of CALLS_MEMORY_PERCENT",
    "MAX_INDEX_BYTES": "operators mount the index; "
    "tests/unit/storer/test_damaged_start_points.py has one that is too large",
    "MIN_SENT_BYTES_PER_SECOND": "it bounds a time of minutes; tests/unit/storer/test_streaming.py "
    "has a clock of its own",
    "COMPARING_PROCESS_BYTES": _IS_OURS,
    "MAX_COMPARING_SECONDS": _IS_OURS,
    "COMPARING_WAIT_SECONDS": _IS_WAIT,
    "PROCESS_BYTES": "it is what the service gives itself; what callers send is bounded by the "
    "bounds of git objects and of visible files",
    "LARGE_MESSAGES_BYTES_PER_SECOND": _IS_WAIT,
    "LOCK_WAIT_SECONDS": _IS_WAIT,
    "MEMBERS_PER_SECOND": _IS_WAIT,
    "QUICK_MESSAGE_BYTES": _IS_WAIT,
    "REFUSED_SECONDS": _IS_WAIT,
    "UNREAD_SECONDS": _IS_WAIT,
    "MANY_KATAS_LOCK_WAIT_SECONDS": _IS_WAIT,
    "MEMORY_BYTES": "all that calls take of it is CALLS_MEMORY_PERCENT and RECEIVED_MEMORY_PERCENT",
    "RUN_REQUEST_FACTOR": "callers reach MAX_BYTES_OF_RUNS, which is about as much",
    "SMALL_BYTES": "it only says which calls take nothing of CALLS_MEMORY_PERCENT",
}


@pytest.fixture(scope="module")
def pair(
    start_service: Callable[..., Service],
    data_containers: DataContainers,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pair]:
    """A storer with an archive, and a runner that knows it, of these tests' own."""
    archive = str(tmp_path_factory.mktemp("archive"))
    storer = start_service("storer", CYBER_DOJO_ARCHIVE=archive)
    runner = start_service("runner", CYBER_DOJO_STORER=storer.address)
    with watched(storer) as watched_storer, watched(runner) as watched_runner:
        yield Pair(World(watched_storer, watched_runner, data_containers.folder), data_containers)
    runner.stop()
    storer.stop()


def _names(case: Case) -> str:
    return ", ".join(name for name, each in CASES.items() if each is case)


@pytest.mark.timeout(1200)  # some read all that is allowed, on a machine that may be busy
@pytest.mark.parametrize("case", dict.fromkeys(CASES.values()), ids=_names)
def test_the_double_of_a_bound_is_answered_within_the_memory(
    pair: Pair, case: Case, request: pytest.FixtureRequest
) -> None:
    if case in katas.HEAVY and not request.config.getoption("all_bounds"):
        pytest.skip("it needs --all-bounds")
    services = (pair.world.storer, pair.world.runner)
    for each in services:
        each.check()  # the peak of memory begins anew
    try:
        case(pair)
    finally:
        delete_all(pair.data_containers)
    for each in services:
        each.check()


def test_every_bound_has_a_case_or_a_reason_why_no_caller_exceeds_it() -> None:
    bounds = {name for name in vars(limits) if name.isupper()}
    assert not CASES.keys() & OUT_OF_REACH.keys()
    assert CASES.keys() | OUT_OF_REACH.keys() == bounds
