"""Containers that serve one run after the other: each run finds what the first one found."""

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from dojo import avatars
from dojo.engine.client import Engine
from support.kata_folders import Kata
from support.processes import command_of
from support.runner.submissions import (
    AVATAR,
    FAULTY,
    GREEN,
    TIMED_OUT,
    Run,
    Stub,
    assert_serves,
    held,
    prepare,
    runs_in,
    waiting_containers,
)
from support.services import Service, wait_until

pytestmark = pytest.mark.usefixtures("nothing_stays")

MEMORY = "it reached the limit of memory, and the kernel killed one of its processes"

# Leaves all that a program can leave, and ends while its processes go on.
LEAVES = b"""import ctypes, fcntl, os, pty, resource, signal, socket, time
libc = ctypes.CDLL(None, use_errno=True)
for path in ("/tmp/left", "/tmp/.left", "/dev/shm/left"):
    with open(path, "wb") as file:
        file.write(b"x" * 1000000)
assert libc.shmget(7, 100000, 0o1666) >= 0
assert libc.msgget(7, 0o1666) >= 0
assert libc.semget(7, 3, 0o1666) >= 0
assert ctypes.CDLL("librt.so.1").mq_open(b"/left", os.O_CREAT | os.O_RDWR, 0o666, None) >= 0
sockets = [socket.create_server(("127.0.0.1", 7777)), socket.socket(socket.AF_UNIX)]
sockets[1].bind("\\0left")
sockets[1].listen()
lock = os.open("lock", os.O_CREAT | os.O_RDWR)
fcntl.flock(lock, fcntl.LOCK_EX)
pty.openpty()
umask = os.umask(0o777)
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
os.nice(5)
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
with open("/proc/self/oom_score_adj", "w") as file:
    file.write("1000")
timer = ctypes.c_void_p()
assert ctypes.CDLL("librt.so.1").timer_create(0, None, ctypes.byref(timer)) == 0
signal.setitimer(signal.ITIMER_REAL, 1000)
if os.fork() == 0:
    os.setsid()
    for name in ("HUP", "TERM", "INT"):
        signal.signal(getattr(signal, f"SIG{name}"), signal.SIG_IGN)
    time.sleep(1000)
print("left")
"""

# Prints what a program finds. What differs from container to container is left out.
FINDS = b"""import ctypes, fcntl, os, re, resource, signal, socket
libc = ctypes.CDLL(None, use_errno=True)
for folder in ("/tmp", "/dev/shm", "/dev/mqueue", "/dev/pts"):
    print(folder, sorted(os.listdir(folder)))
for name in ("shm", "msg", "sem"):
    with open(f"/proc/sysvipc/{name}") as file:
        print(name, len(file.readlines()))
for name in ("unix", "tcp", "tcp6", "udp"):
    with open(f"/proc/net/{name}") as file:
        print(name, len(file.readlines()))
with open("/proc/locks") as file:
    print("locks of this user's", sum(f":{os.stat('lock').st_ino} " in line for line in file))
fcntl.flock(os.open("lock", os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)
print("processes", len([name for name in os.listdir("/proc") if name.isdigit()]))
print("number", os.getpid(), os.getppid(), os.getsid(0), os.getpgid(0))
with open("/proc/mounts") as file:
    print("mounts", sorted(line for line in file if not line.startswith("overlay")))
print("limits", [resource.getrlimit(number) for number in range(16)])
print("umask", os.umask(0), "nice", os.nice(0), "timer", signal.getitimer(signal.ITIMER_REAL))
print("scheduling", os.sched_getscheduler(0), sorted(os.sched_getaffinity(0)), libc.personality(-1))
print("disks", libc.syscall(252, 1, 0), "slack", libc.prctl(30), "dumpable", libc.prctl(3))
for name in ("oom_score_adj", "coredump_filter", "timers"):
    if os.path.exists(f"/proc/self/{name}"):
        with open(f"/proc/self/{name}") as file:
            print(name, file.read())
with open("/proc/keys") as file:
    print("keys", file.read())
with open("/proc/self/status") as file:
    names = "Cap|NoNew|Seccomp|Sig[BIC]|Shd|Groups|[UG]id"
    print("rights", [line for line in file if re.match(names, line)])
print("descriptors", sorted(os.listdir("/proc/self/fd")))
print("environment", sorted(f"{key}={os.environ[key]}" for key in os.environ if key != "HOSTNAME"))
for name in ("memory/memory.oom_control", "memory.events"):
    if os.path.exists(f"/sys/fs/cgroup/{name}"):
        with open(f"/sys/fs/cgroup/{name}") as file:
            print(name, re.findall("oom_kill [0-9]+", file.read()))
"""
FILES = {"leaves.py": LEAVES, "finds.py": FINDS, "lock": b""}


def hostname(run: Run) -> bytes:
    """Return the hostname of the container in which the next run takes place."""
    return run("hostname", FILES).stdout.content


def launchers() -> list[int]:
    """Return the processes that start runs in containers, and serve no run now."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_launcher = (folder / "comm").read_text() == "launcher\n"
            is_roots = folder.stat().st_uid == os.getuid()
        except OSError:  # the process has just ended
            continue
        if is_launcher and is_roots:
            found.append(int(folder.name))
    return found


def launcher_of(engine: Engine, container: str) -> int:
    """Return the process of a container's launcher."""
    processes = {int(row[1]) for row in engine.api.top(container)["Processes"]}
    (found,) = processes & set(launchers())
    return found


def test_nothing_of_an_earlier_run_is_in_the_next(
    run: Run, runner: Stub, started_kata: Kata
) -> None:
    assert prepare(runner, started_kata)
    first = run("python3 finds.py", FILES)
    assert (first.status, first.stderr.content) == (0, b"")
    name = hostname(run)
    for _ in range(2):
        left = run("python3 leaves.py && kill -9 $PPID", FILES)
        assert b"left" in left.stdout.content, left
        assert run("python3 leaves.py", FILES).stdout.content == b"left\n"
        found = run("python3 finds.py", FILES)
        assert found.stdout.content == first.stdout.content
        assert (found.status, found.stderr.content) == (0, b"")
    # A run whose processes were killed at once takes its container with it.
    assert hostname(run) != name


def test_a_run_finds_the_same_in_a_container_of_its_own(
    run: Run, single_runner: Stub, started_kata: Kata
) -> None:
    reused = [run("python3 finds.py", FILES).stdout.content.splitlines() for _ in range(2)][1]
    own = runs_in(single_runner, started_kata)
    single = own("python3 finds.py", FILES).stdout.content.splitlines()
    # Processes have other numbers, and runc's mounts over parts of /proc have other flags.
    differing = [
        (ours, theirs)
        for ours, theirs in zip(reused, single, strict=True)
        if _comparable(ours) != _comparable(theirs) and not ours.startswith((b"number", b"mounts"))
    ]
    assert not differing


def _comparable(line: bytes) -> bytes:
    """Return a line without the two signals that glibc keeps for itself.

    What make starts ignores them: the engine and the tests do, or not, whoever started them.
    """
    ignored = re.search(rb"SigIgn:\\t([0-9a-f]{16})", line)
    if ignored is None:
        return line
    mask = int(ignored[1], 16) & ~(0b11 << 31)
    return line.replace(ignored[0], b"SigIgn:%016x" % mask)


def test_the_hundredth_run_is_limited_as_the_first_and_the_next_is_not_blamed(run: Run) -> None:
    name = hostname(run)
    for _ in range(100):
        assert run().colour == GREEN
    assert hostname(run) == name
    response = run("python3 -c 'kept = b\"x\" * (2 << 30)'", FILES)
    assert MEMORY in response.reason
    response = run("hostname; echo tests: passed", FILES)
    assert (response.colour, response.reason) == (GREEN, "")
    assert name not in response.stdout.content
    response = run("sleep 1000", FILES, max_seconds=1)
    assert response.colour == TIMED_OUT
    response = run("echo tests: passed; kill -9 -1", FILES)
    assert response.colour == FAULTY
    assert run().colour == GREEN


def test_a_run_that_took_too_long_costs_no_container(run: Run) -> None:
    name = hostname(run)
    for script in ("sleep 1000", "python3 leaves.py; sleep 1000", ":(){ :|:& };:; sleep 1000"):
        assert run(script, FILES, max_seconds=1).colour == TIMED_OUT
        assert hostname(run) == name


def test_a_container_without_its_launcher_costs_one_cold_start(
    run: Run, runner_service: Service, started_kata: Kata, engine: Engine
) -> None:
    assert run().colour == GREEN
    (container,) = waiting_containers(engine, started_kata)
    launcher = launcher_of(engine, container)
    os.kill(launcher, signal.SIGKILL)
    wait_until(lambda: not any(command_of(launcher)))  # a busy machine takes its time
    for _ in range(2):
        assert run().colour == GREEN

    def warm() -> list[bool]:
        events = [event for event in runner_service.events() if event["event"] == "run"]
        return [event["warm"] for event in events if event.get("kata") == started_kata.id]

    wait_until(lambda: len(warm()) == 3)
    assert warm()[2]


def test_a_run_goes_on_without_its_launcher(
    runner: Stub, started_kata: Kata, engine: Engine
) -> None:
    assert prepare(runner, started_kata)
    (container,) = waiting_containers(engine, started_kata)
    launcher = launcher_of(engine, container)
    run = held(runner, started_kata)
    os.kill(launcher, signal.SIGKILL)
    assert run.release().colour == GREEN
    assert_serves(runner, started_kata)


def test_a_program_has_nothing_of_the_launcher(run: Run) -> None:
    program = b"""import os
for name in ("mem", "environ", "maps", "exe", "fd", "root", "cwd"):
    try:
        path = f"/proc/1/{name}"
        found = os.listdir(path) if name in ("fd", "root", "cwd") else os.open(path, os.O_RDONLY)
        print("taken", name, found)
    except PermissionError:
        print("refused")
with open("/proc/1/status") as file:
    print([line.split()[1:] for line in file if line.startswith(("Uid", "CapPrm", "CapBnd"))])
"""
    response = run("exec python3 program.py", {"program.py": program})
    uid = str(avatars.uid(AVATAR))
    none = ["0000000000000000"]
    assert response.stdout.content.decode().splitlines() == [
        *["refused"] * 7,
        str([[uid] * 4, none, none]),
    ]


def test_a_run_has_no_priority_that_somebody_gave_to_the_runner(
    start_runner: Callable[..., Service], client: Callable[[Service], Stub], started_kata: Kata
) -> None:
    service = start_runner()
    for task in Path(f"/proc/{service.pid}/task").iterdir():
        os.setpriority(os.PRIO_PROCESS, int(task.name), -7)
        os.sched_setaffinity(int(task.name), {min(os.sched_getaffinity(0))})
    runner = client(service)
    assert prepare(runner, started_kata)
    script = "python3 -c 'import os; print(os.nice(0), len(os.sched_getaffinity(0)))'"
    response = runs_in(runner, started_kata)(script)
    assert response.stdout.content == f"0 {len(os.sched_getaffinity(0))}\n".encode()


def test_a_preparation_right_after_a_run_finds_the_container_of_that_run(
    run: Run, runner: Stub, started_kata: Kata, engine: Engine
) -> None:
    assert prepare(runner, started_kata)
    before = waiting_containers(engine, started_kata)
    for _ in range(20):
        assert run().colour == GREEN
        assert prepare(runner, started_kata)
    assert waiting_containers(engine, started_kata) == before


def test_a_container_serves_for_a_limited_time(
    start_runner: Callable[..., Service], client: Callable[[Service], Stub], started_kata: Kata
) -> None:
    runner = client(start_runner(CYBER_DOJO_RUNNER_MAX_CONTAINER_SECONDS="1"))
    run = runs_in(runner, started_kata)
    first = hostname(run)
    wait_until(lambda: hostname(run) != first)


def test_a_run_tells_what_it_used_and_not_what_the_one_before_did(
    run: Run, single_runner: Stub, started_kata: Kata
) -> None:
    works = b"""import time
kept = b"x" * (200 << 20)
while time.process_time() < 1:
    pass
"""
    used = run("python3 works.py", {"works.py": works}).usage
    assert used.processor_time.ToTimedelta().total_seconds() >= 1
    assert 200 << 20 <= used.peak_memory_bytes <= 512 << 20
    used = run("true").usage
    assert 0 < used.processor_time.ToTimedelta().total_seconds() < 1
    assert 0 < used.peak_memory_bytes < 200 << 20
    single = runs_in(single_runner, started_kata)("true")
    assert not single.HasField("usage")
