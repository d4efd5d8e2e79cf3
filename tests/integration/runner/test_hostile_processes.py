"""Programs that attack the processes around them, or forge their own results."""

import signal

import pytest

from support.kata_folders import Kata
from support.runner.hostility import VARIABLES
from support.runner.submissions import AMBER, FAULTY, GREEN, TIMED_OUT, Run, Stub, request

pytestmark = pytest.mark.usefixtures("nothing_stays")

KILLED = "all of its processes were killed at once"
SPOILT = "one of its processes wrote to the pipe of its exit status"

KILL_EACH = b"""import os, signal
for pid in sorted(map(int, filter(str.isdigit, os.listdir("/proc"))), reverse=True):
    if pid not in {1, os.getpid()}:
        os.kill(pid, signal.SIGKILL)
signal.pause()
"""


@pytest.mark.parametrize(
    ("script", "program"),
    [
        ("kill -9 -1; sleep 1000", b""),
        ("kill -9 $PPID; sleep 1000", b""),
        ("exec python3 program.py", KILL_EACH),
    ],
)
def test_a_program_that_kills_every_process_ends_only_its_own_run(
    attack: Run, script: str, program: bytes
) -> None:
    response = attack(f"echo tests: passed; {script}", {"program.py": program})
    assert (response.colour, response.reason) == (FAULTY, KILLED)
    assert response.stdout.content == b"tests: passed\n"
    assert response.status == 128 + 9


def test_the_first_process_can_be_neither_killed_nor_stopped(attack: Run) -> None:
    response = attack("kill -9 1; kill -STOP 1; kill -ABRT 1; echo tests: passed; exit 3")
    assert (response.colour, response.status) == (GREEN, 3)


@pytest.mark.parametrize("script", ["kill -STOP $PPID", "kill -STOP $PPID; sleep 1000"])
def test_a_program_that_stops_its_parent_times_out(attack: Run, script: str) -> None:
    response = attack(f"echo tests: passed; {script}", max_seconds=3)
    assert response.colour == TIMED_OUT
    assert response.stdout.content == b"tests: passed\n"


# What a program writes to the pipe of its exit status.
@pytest.mark.parametrize(
    "forged", ["echo 0", "echo ready", "echo 7; echo 0", "head -c 1000000 /dev/zero"]
)
def test_a_program_that_forges_an_exit_status_is_faulty(attack: Run, forged: str) -> None:
    response = attack(f"({forged}) > /proc/$PPID/fd/5; exit 3")
    assert (response.colour, response.reason) == (FAULTY, SPOILT)
    assert response.status == 128 + 9


@pytest.mark.parametrize("number", [3, 4])
def test_output_through_the_descriptors_of_the_parent_is_the_runs_own(
    attack: Run, number: int
) -> None:
    response = attack(f"echo tests: passed > /proc/$PPID/fd/{number}; exit 3")
    assert (response.colour, response.status) == (GREEN, 3)
    assert response.stdout.content + response.stderr.content == b"tests: passed\n"


def test_a_program_can_not_read_from_its_own_output_pipes(attack: Run) -> None:
    # A pipe that is opened again by its path in /proc could be opened for reading.
    thief = b"""import contextlib, os
for path in ("/proc/self/fd/1", "/proc/self/fd/2", f"/proc/{os.getppid()}/fd/5"):
    for take in (lambda: os.chmod(path, 0o666), lambda: os.open(path, os.O_RDONLY)):
        try:
            take()
            print("taken", path)
        except PermissionError:
            print("refused")
"""
    response = attack("exec python3 thief.py", {"thief.py": thief})
    assert response.stdout.content == b"refused\n" * 6
    script = "for i in 1 2 3; do cat /dev/stdout & done; yes | head -n 100000; echo end; wait"
    response = attack(script)
    assert response.stdout.truncated
    assert response.stderr.content.count(b"Permission denied") == 3


def test_standard_output_can_be_opened_again_for_writing(attack: Run) -> None:
    response = attack("echo tests: passed > /dev/stdout; echo trouble > /dev/stderr")
    assert response.stdout.content == b"tests: passed\n"
    assert response.stderr.content == b"trouble\n"


@pytest.mark.parametrize("mark", ["ready\n", "0\n", "3\n0\n", "\0", "end\n"])
def test_no_output_is_taken_for_the_end_of_a_run(attack: Run, mark: str) -> None:
    files = {"mark": mark.encode()}
    response = attack("cat mark; cat mark >&2; sleep 0.1; cat mark; exit 7", files)
    assert response.stdout.content == mark.encode() * 2
    assert response.stderr.content == mark.encode()
    assert (response.status, response.colour) == (7, AMBER)


def test_output_comes_as_it_was_written_whatever_its_bytes_are(attack: Run) -> None:
    content = bytes(range(256)) * 8 + b"\x1b]0;title\x07\x1b[2J\xf0\x9f\xc3(\xed\xa0\x80\0\r\n"
    response = attack("cat content; cat content >&2", {"content": content})
    assert response.stdout.content == response.stderr.content == content
    assert response.status == 0


TRACE = b"""import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
ATTACH, DETACH = 16, 17
own = {os.getpid(), os.getppid()}
for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
    for name in ("environ", "maps", "mem"):
        try:
            with open(f"/proc/{pid}/{name}", "rb") as file:
                found = file.read() if name != "mem" else b""
        except OSError:
            continue
        if name == "environ":
            names = {each.partition(b"=")[0].decode() for each in found.split(b"\\0") if each}
            print("variables", *sorted(names))
    if pid not in own and libc.ptrace(ATTACH, pid, 0, 0) == 0:
        os.waitpid(pid, 0x40000000)
        libc.ptrace(DETACH, pid, 0, 0)
print("processes", len(list(filter(str.isdigit, os.listdir("/proc")))))
print("tests: passed")
"""


def test_a_program_that_traces_and_reads_what_it_sees_finds_nothing_but_itself(
    attack: Run,
) -> None:
    response = attack("python3 trace.py; exit 3", {"trace.py": TRACE})
    assert (response.colour, response.status) == (GREEN, 3)
    lines = response.stdout.content.decode().splitlines()
    # The first process, the shell that reports the exit status, cyber-dojo.sh, and Python.
    assert "processes 4" in lines
    found = [set(line.split()[1:]) for line in lines if line.startswith("variables")]
    assert found
    assert set().union(*found) <= VARIABLES


@pytest.mark.parametrize("status", [0, 1, 2, 3, 42, 77, 125, 126, 127, 128, 137, 143, 254, 255])
def test_any_exit_status_is_returned(run: Run, status: int) -> None:
    response = run(f"exit {status}")
    assert (response.status, response.colour, response.reason) == (status, AMBER, "")


def test_death_by_any_signal_is_returned_as_a_status(runner: Stub, started_kata: Kata) -> None:
    # These signals stop a program or are ignored by default, so they end none.
    harmless = {
        signal.SIGCHLD, signal.SIGCONT, signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN,
        signal.SIGTTOU, signal.SIGURG, signal.SIGWINCH,
    }  # fmt: skip
    deadly = [number for number in range(1, 32) if number not in harmless] + [34, 64]
    found = {}
    for number in deadly:
        # bash ignores SIGQUIT; the programs that it starts do not.
        script = f"exec sh -c 'kill -{number} $$; sleep 1000'"
        response = runner.Run(request(started_kata, script))
        found[number] = response.status
    assert found == {number: 128 + number for number in deadly}
