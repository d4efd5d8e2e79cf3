"""The limits of a run, and what happens to a run that exceeds them. The limits here are small."""

from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from dojo.engine.client import Engine
from runner.sandbox import safe_fs
from support.kata_folders import Kata
from support.runner.submissions import (
    AVATAR,
    GREEN,
    TIMED_OUT,
    Run,
    Stub,
    containers,
    refused,
    request,
    runs_in,
)
from support.services import Service, wait_until

MIB = 1024 * 1024
SANDBOX_BYTES, SANDBOX_FILES = 8 * MIB, 200
FILE_BYTES, TMP_BYTES, OUTPUT_BYTES = 4 * MIB, 2 * MIB, 4096
PROCESSES = 32

# write FILE BYTES: writes a file of that size.
WRITE = "write() { head -c $2 /dev/zero > $1; }\n"


@pytest.fixture(scope="module")
def small_runner(
    start_service: Callable[..., Service], connect: Callable[[str], grpc.Channel]
) -> Iterator[Stub]:
    service = start_service(
        "runner",
        CYBER_DOJO_SANDBOX_MAX_BYTES=str(SANDBOX_BYTES),
        CYBER_DOJO_SANDBOX_MAX_FILES=str(SANDBOX_FILES),
        CYBER_DOJO_RUN_MAX_FILE_BYTES=str(FILE_BYTES),
        CYBER_DOJO_RUN_TMP_BYTES=str(TMP_BYTES),
        CYBER_DOJO_RUN_MAX_OUTPUT_BYTES=str(OUTPUT_BYTES),
        CYBER_DOJO_RUN_MAX_PROCESSES=str(PROCESSES),
    )
    yield Stub(connect(service.address))
    service.stop()
    assert not "\n".join(service.troubles())


@pytest.fixture
def run(small_runner: Stub, started_kata: Kata) -> Run:
    return runs_in(small_runner, started_kata)


@pytest.fixture
def sandbox(started_kata: Kata) -> Path:
    return started_kata.sandbox(AVATAR)


def disk_bytes(folder: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))


# Each repeats for ever, in small steps, until the runner ends it.
@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("write f$i 500000", f"it was ended: more than {SANDBOX_BYTES} bytes on disk"),
        ("write f 500000; mkdir d$i; mv f d$i", f"more than {SANDBOX_BYTES} bytes on disk"),
        ("touch .f$i", f"it was ended: more than {SANDBOX_FILES} files and folders"),
        ("mkdir -p d/$i/e", f"more than {SANDBOX_FILES} files and folders"),
        ("mkdir d; cd d", f"it was ended: folders in the sandbox more than {safe_fs.MAX_DEPTH}"),
    ],
)
def test_a_run_that_fills_its_sandbox_is_ended_and_the_next_one_passes(
    run: Run, sandbox: Path, script: str, reason: str
) -> None:
    files = {"a.txt": b"a\n"}
    forever = f"{WRITE}i=0; while :; do {script}; i=$((i + 1)); done"
    response = run(forever, files)
    assert reason in response.reason
    assert response.status == 128 + 9
    assert disk_bytes(sandbox) <= SANDBOX_BYTES * 3 // 4  # leaves room for the next run
    assert len(list(sandbox.rglob("*"))) <= SANDBOX_FILES
    response = run("cat a.txt && mkdir more && echo tests: passed > more/b && cat more/b", files)
    assert (response.colour, response.reason) == (GREEN, "")


def test_a_run_that_ends_by_itself_above_the_limit_gets_a_reason(run: Run) -> None:
    response = run(WRITE + "for each in 1 2 3; do write $each 4000000; done; echo tests: passed")
    assert response.reason == f"more than {SANDBOX_BYTES} bytes on disk in the sandbox"
    assert (response.colour, response.status) == (GREEN, 0)


def test_the_largest_files_that_a_run_wrote_go_first(run: Run, sandbox: Path) -> None:
    run(WRITE + "write earlier 4000000")
    response = run(WRITE + "write large 4000000; write medium 1000000; echo small > small")
    assert "bytes on disk" in response.reason
    assert {path.name for path in sandbox.iterdir()} == {
        "cyber-dojo.sh",
        "earlier",
        "medium",
        "small",
    }


def test_there_is_room_after_a_run_that_made_too_many_and_too_large_files(
    run: Run, sandbox: Path
) -> None:
    # More files than the runner checks in one pass.
    large = b"""import os
for number in range(%d):
    descriptor = os.open(f"f{number}", os.O_WRONLY | os.O_CREAT)
    os.posix_fallocate(descriptor, 0, 500_000)
    os.close(descriptor)
"""
    response = run("python3 large.py", {"large.py": large % (SANDBOX_FILES + 4)})
    assert "bytes on disk" in response.reason
    assert disk_bytes(sandbox) <= SANDBOX_BYTES * 3 // 4
    assert {"cyber-dojo.sh", "large.py"} < {path.name for path in sandbox.iterdir()}


def test_files_of_earlier_runs_stay_when_a_run_makes_too_many_files(
    run: Run, sandbox: Path
) -> None:
    run("mkdir lib; touch lib/earlier")
    response = run(f"mkdir new; seq {SANDBOX_FILES} | (cd new && xargs touch); touch lib/late")
    assert "files and folders" in response.reason
    assert not (sandbox / "new").exists()
    assert (sandbox / "lib/earlier").exists()


def test_holes_take_no_disk(run: Run) -> None:
    response = run(f"for each in 1 2 3; do truncate -s {FILE_BYTES} $each; done")
    assert (response.status, response.reason) == (0, "")


def test_the_size_of_a_file_is_limited(run: Run, sandbox: Path) -> None:
    response = run(WRITE + f"write big {FILE_BYTES + 1}; echo $?")
    assert response.stdout.content == b"153\n"  # by SIGXFSZ
    assert (sandbox / "big").stat().st_size == FILE_BYTES
    assert run(f"truncate -s {FILE_BYTES + 1} hole").status != 0


def test_tmp_is_limited_and_empty_in_the_next_run(run: Run) -> None:
    response = run(WRITE + f"write /tmp/big {TMP_BYTES + 1}; wc -c < /tmp/big")
    assert b"No space left on device" in response.stderr.content
    assert response.stdout.content.strip() == str(TMP_BYTES).encode()
    assert run("ls -A /tmp").stdout.content == b"cyber_dojo_fs_cleaners.sh\n"


def test_the_number_of_processes_is_limited(run: Run) -> None:
    forks = b"""import os, signal
children = []
try:
    while len(children) < 1000:
        if (child := os.fork()) == 0:
            signal.pause()
        children.append(child)
except BlockingIOError:
    print(len(children))
"""
    # The process that forks and its shell count too.
    assert run("python3 forks.py", {"forks.py": forks}).stdout.content == b"%d\n" % (PROCESSES - 2)


def test_a_fork_bomb_is_ended_with_everything_that_it_started(
    run: Run, started_kata: Kata, engine: Engine
) -> None:
    bomb = b"""import contextlib, os
while True:
    with contextlib.suppress(BlockingIOError):
        os.fork()
"""
    response = run("python3 bomb.py", {"bomb.py": bomb}, max_seconds=1)
    assert response.colour == TIMED_OUT
    wait_until(lambda: not containers(engine, started_kata))
    assert run().colour == GREEN


def test_a_flood_of_output_is_read_and_cut_off(run: Run) -> None:
    response = run("yes & yes no >&2", max_seconds=3)
    assert response.colour == TIMED_OUT
    assert response.stdout.content == b"y\n" * (OUTPUT_BYTES // 2)
    assert response.stderr.content == (b"no\n" * OUTPUT_BYTES)[:OUTPUT_BYTES]
    assert response.stdout.truncated
    assert response.stderr.truncated


def test_output_at_the_limit_is_not_cut_off(run: Run) -> None:
    response = run(f"head -c {OUTPUT_BYTES} /dev/zero")
    assert response.stdout.content == bytes(OUTPUT_BYTES)
    assert not response.stdout.truncated


def test_a_runs_share_of_the_processor_can_be_limited(
    start_runner: Callable[..., Service], client: Callable[[Service], Stub], started_kata: Kata
) -> None:
    run = runs_in(client(start_runner(CYBER_DOJO_RUN_CPU_PERCENT="20")), started_kata)
    # The kernel counts how often it throttled a group, in one of these files for each version.
    # On a busy machine it may take long until the group exceeds its share.
    response = run(
        "until grep -qs 'nr_throttled [1-9]' /sys/fs/cgroup/cpu.stat /sys/fs/cgroup/cpu/cpu.stat\n"
        "do i=0; while [ $i -lt 50000 ]; do i=$((i + 1)); done; done; echo tests: passed"
    )
    assert response.colour == GREEN, response


def test_no_run_starts_when_the_disk_is_nearly_full(
    start_runner: Callable[..., Service],
    client: Callable[[Service], Stub],
    started_kata: Kata,
    engine: Engine,
) -> None:
    runner = client(start_runner(CYBER_DOJO_MIN_FREE_BYTES=str(1 << 50)))
    error = refused(lambda: runner.Run(request(started_kata)), grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert "set CYBER_DOJO_MIN_FREE_BYTES" in error.details()
    assert not list(started_kata.sandbox(AVATAR).iterdir())
    assert not containers(engine, started_kata)
