"""Large comparisons: bounded, in a process of their own, of which nothing remains."""

import asyncio
import gc
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dojo import limits
from dojo.budget import NotSmall
from dojo.errors import ComparisonLost, ComparisonsExhausted, ComparisonTooLarge
from dojo.service.call_threads import CallThreads
from dojo.visible_files import MAX_FILE_BYTES
from storer.api import comparer
from storer.api.comparer import Output
from storer.api.comparisons import Comparisons, Read
from storer.kata import diff
from storer.kata.diff import Comparison, FileChange
from support.processes import children_of
from support.services import wait_until
from support.storer.storing import git

Files = Mapping[str, bytes]

chance = random.Random(11)  # noqa: S311 - no secret


def random_lines(count: int) -> bytes:
    return b"".join(b"%d\n" % chance.randrange(1000) for _ in range(count))


# As slow as a comparison can be: it takes seconds.
SLOWEST = Comparison(
    *({"a": random_lines(limits.MAX_COMPARED_LINES // 2 - 1)} for _ in ("old", "new"))
)
SMALL = Comparison({"a": b"1\n"}, {"a": b"2\n"})


def new_comparisons() -> Comparisons:
    """Return comparisons with threads of their own. To be called where an event loop runs."""
    return Comparisons(CallThreads(4, "test"))


def reading(compared: Comparison) -> Read:
    """Return a function that reads two lights as the storer does."""

    def read(max_bytes: int | None) -> Comparison:
        size = sum(len(content) for files in compared for content in files.values())
        if max_bytes is not None and size > max_bytes:
            raise NotSmall
        return compared

    return read


def compared_by(output: Output, compared: Comparison) -> bytes:
    async def compare() -> bytes:
        return await new_comparisons().compare(output, reading(compared))

    return asyncio.run(compare())


def apply(folder: Path, was: Files, patch: bytes) -> dict[str, bytes]:
    """Return what git apply makes of files."""
    folder.mkdir()
    for name, content in was.items():
        (folder / name).write_bytes(content)
    git(folder, "apply", "-p1", "--whitespace=nowarn", "-", text=patch)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# --- Bounds


@pytest.mark.parametrize(
    "content",
    [
        b"\n" * (limits.MAX_COMPARED_LINES // 2 + 1),
        b"x" * MAX_FILE_BYTES + b"\n" * (limits.MAX_COMPARED_BYTES // 2 - MAX_FILE_BYTES + 1),
    ],
    ids=["lines", "bytes"],
)
def test_a_file_that_exceeds_the_bound_is_told_as_too_large_and_others_are_compared(
    content: bytes,
) -> None:
    compared = Comparison({"a": content, "b": b"1\n"}, {"a": content + b"x", "b": b"2\n"})
    large, small = diff.diff(compared)
    assert (large.change, large.too_large, large.runs()) == (FileChange.CHANGED, True, [])
    assert (small.change, small.too_large, len(small.runs())) == (FileChange.CHANGED, False, 2)


def test_as_many_lines_as_the_bound_are_compared() -> None:
    count = limits.MAX_COMPARED_LINES
    (file,) = diff.diff(Comparison({"a": b"\n" * (count - 1)}, {"a": b"x\n"}))
    assert (file.too_large, sum(len(run.lines) for run in file.runs())) == (False, count)


def test_the_bound_is_for_all_files_of_a_comparison() -> None:
    half = b"\n" * (limits.MAX_COMPARED_LINES // 2)
    found = diff.diff(Comparison({}, {"a": half, "b": half, "c": b"1\n"}))
    assert [file.too_large for file in found] == [False, False, True]


def test_git_apply_takes_the_patch_of_a_file_that_is_too_large(tmp_path: Path) -> None:
    content = random_lines(limits.MAX_COMPARED_LINES)
    was, now = {"a": content, "b": b"1\n"}, {"a": content[::-1], "b": b"2\n"}
    patch = compared_by(Output.PATCH, Comparison(was, now))
    assert b"GIT binary patch" in patch
    assert b"-1\n+2\n" in patch
    assert apply(tmp_path / "files", was, patch) == now


def renamed_files(count: int, start: str, end: bytes) -> dict[str, bytes]:
    """Return files, each with lines of its own and the same end."""
    return {
        f"{start}{number}": b"line %d\n" % number * 9 + b"%d\n" % number + end
        for number in range(count)
    }


@pytest.mark.parametrize(("more", "expected"), [(0, FileChange.RENAMED), (1, FileChange.CREATED)])
def test_only_so_many_pairs_are_compared_to_find_renames(
    monkeypatch: pytest.MonkeyPatch, more: int, expected: FileChange
) -> None:
    monkeypatch.setattr(limits, "MAX_RENAME_PAIRS", 400)
    old, new = (renamed_files(20 + more, start, b"") for start in ("old", "new"))
    new["new3"] += b"and more\n"
    changes = {file.new_name: file.change for file in diff.diff(Comparison(old, new))}
    assert changes.pop("new3") is expected
    assert {change for name, change in changes.items() if name} == {FileChange.RENAMED}


# --- What others notice


@pytest.mark.parametrize("output", [Output.LINES, Output.PATCH])
def test_others_are_answered_while_the_slowest_comparison_goes_on(output: Output) -> None:
    async def check() -> None:
        comparisons = new_comparisons()
        slow = asyncio.create_task(comparisons.compare(output, reading(SLOWEST)))
        await child()
        for _ in range(10):
            assert await comparisons.compare(output, reading(SMALL))
        assert not slow.done()
        assert len(await slow) > 1_000_000

    asyncio.run(check())


@pytest.mark.parametrize(
    "compared",
    [
        pytest.param(
            Comparison({"a": b"\n" * MAX_FILE_BYTES}, {"a": b"\n" * (MAX_FILE_BYTES - 1) + b"x"}),
            id="empty lines",
        ),
        pytest.param(
            Comparison(renamed_files(2000, "old", b"1\n" * 9), renamed_files(2000, "new", b"")),
            id="renames",
        ),
        pytest.param(SLOWEST, id="random lines"),
    ],
)
def test_what_is_large_is_not_compared_in_this_process(compared: Comparison) -> None:
    assert not compared.is_small


# --- The same answers, however they are made


lines = st.lists(st.sampled_from([b"a", b"b", b"", b"c\r", b"\0"]), max_size=8).map(b"\n".join)
files = st.dictionaries(st.sampled_from(["a", "b/c", "d.sh", "ü", "\udcff"]), lines, max_size=4)


@settings(max_examples=50)
@given(old=files, new=files)
def test_a_process_reads_what_was_written_for_it(old: Files, new: Files) -> None:
    written = Comparison(dict(old), dict(new))
    with open(os.memfd_create("test"), "w+b") as file:
        comparer.write(file, Output.PATCH, written)
        file.seek(0)
        assert comparer.read(file) == (Output.PATCH, written)


@pytest.mark.parametrize("output", [Output.LINES, Output.PATCH])
def test_a_process_answers_as_a_thread_does(
    monkeypatch: pytest.MonkeyPatch, output: Output
) -> None:
    old = {"a": b"1\n2\n", "b.sh": b"x\n" * 9, "c": b"\0\1", "ü": b"3\n", "same": b"4\n"}
    new = {"a": b"1\n5\n", "d.sh": b"x\n" * 9, "c": b"\0\2", "ü": b"6", "same": b"4\n"}
    by_thread = compared_by(output, Comparison(old, new))
    monkeypatch.setattr(limits, "SMALL_COMPARED_BYTES", 0)
    assert compared_by(output, Comparison(old, new)) == by_thread


# --- Ends


def comparing_processes(pid: int) -> list[int]:
    """Return the processes that compare for a process, which may have others."""
    return [
        child
        for child in children_of(pid)
        if b"comparer" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


async def child() -> int:
    """Wait for the process that compares; return its id."""
    await asyncio.to_thread(wait_until, lambda: comparing_processes(os.getpid()))
    return comparing_processes(os.getpid())[0]


async def cancel(task: asyncio.Task[bytes]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def run_out_of_time(task: asyncio.Task[bytes]) -> None:
    with pytest.raises(ComparisonTooLarge, match="1 seconds"):
        await task


@pytest.mark.parametrize("end", [cancel, run_out_of_time])
def test_nothing_remains_of_a_comparison_that_is_ended(
    monkeypatch: pytest.MonkeyPatch, end: Callable[[asyncio.Task[bytes]], object]
) -> None:
    async def check() -> None:
        task = asyncio.create_task(new_comparisons().compare(Output.PATCH, reading(SLOWEST)))
        await child()
        await end(task)  # type: ignore[misc]  # both are coroutines
        assert comparing_processes(os.getpid()) == []

    if end is run_out_of_time:
        monkeypatch.setattr(limits, "MAX_COMPARING_SECONDS", 1)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    asyncio.run(check())
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("number", "error", "says"),
    [
        (signal.SIGKILL, ComparisonLost, "call again"),
        (signal.SIGTERM, ComparisonLost, "call again"),
        (signal.SIGSEGV, RuntimeError, "SIGSEGV"),
        (signal.SIGABRT, RuntimeError, "SIGABRT"),
    ],
)
def test_a_process_that_is_killed_or_crashes_is_told_as_that(
    number: signal.Signals, error: type[Exception], says: str
) -> None:
    async def check() -> None:
        task = asyncio.create_task(new_comparisons().compare(Output.LINES, reading(SLOWEST)))
        os.kill(await child(), number)
        with pytest.raises(error, match=says):
            await task

    asyncio.run(check())


@pytest.mark.parametrize("output", [Output.LINES, Output.PATCH])
def test_a_process_that_needs_more_memory_than_it_may_use_is_told_as_too_large(
    monkeypatch: pytest.MonkeyPatch, output: Output
) -> None:
    # Python and its libraries take 50 MiB of them.
    monkeypatch.setattr(limits, "COMPARING_PROCESS_BYTES", 90 * 1024 * 1024)
    content = b"x" * (MAX_FILE_BYTES - 1)
    large = Comparison({"a": content + b"1"}, {"a": content + b"2"})
    with pytest.raises(ComparisonTooLarge, match="94371840 bytes of memory"):
        compared_by(output, large)


def test_a_defect_of_a_process_is_told_with_its_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(comparer, "write", lambda *_: None)
    with pytest.raises(RuntimeError, match="JSONDecodeError"):
        compared_by(Output.LINES, SLOWEST)


def test_a_call_that_finds_all_processes_busy_is_told_to_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "COMPARING_WAIT_SECONDS", 0.1)
    monkeypatch.setattr(limits, "MAX_COMPARING_PROCESSES", 1)

    async def check() -> None:
        comparisons = new_comparisons()
        task = asyncio.create_task(comparisons.compare(Output.PATCH, reading(SLOWEST)))
        await child()
        with pytest.raises(ComparisonsExhausted):
            await comparisons.compare(Output.PATCH, reading(SLOWEST))
        assert len(comparing_processes(os.getpid())) == 1
        await cancel(task)

    asyncio.run(check())


def test_a_process_ends_with_the_storer_that_started_it() -> None:
    script = (
        "import asyncio\n"
        "from unit.storer.test_comparisons import *\n"
        "async def compare():\n"
        "    await new_comparisons().compare(Output.PATCH, reading(SLOWEST))\n"
        "asyncio.run(compare())\n"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", script], env=environ) as storer:
        wait_until(lambda: children_of(storer.pid))
        (started,) = children_of(storer.pid)
        wait_until(lambda: b"comparer" in Path(f"/proc/{started}/cmdline").read_bytes())
        storer.kill()
    wait_until(lambda: not Path(f"/proc/{started}").exists())


@pytest.mark.parametrize("output", [*comparer.DIFF_OUTPUTS.values(), Output.PATCH])
def test_a_process_gives_the_answer_that_a_thread_would_give(output: Output) -> None:
    large = b"".join(b"%d\n" % number for number in range(limits.SMALL_COMPARED_LINES + 1))
    compared = Comparison({"a": large, "b": b"1\n"}, {"a": large + b"x\n", "b": b"1\n"})
    assert not compared.is_small
    assert compared_by(output, compared) == b"".join(comparer.answer(output, compared))
