"""Programs that use all resources that they can get: they are limited, and harm nobody else."""

import pytest

from support.kata_folders import Kata
from support.runner.submissions import (
    AMBER,
    AVATAR,
    GREEN,
    TIMED_OUT,
    Run,
    Stub,
    assert_serves,
    prepare,
    request,
)

pytestmark = pytest.mark.usefixtures("nothing_stays")

MEMORY = "it reached the limit of memory, and the kernel killed one of its processes"

FORK_BOMB = b"""import contextlib, os
while True:
    with contextlib.suppress(BlockingIOError):
        os.fork()
"""
# Each process is small, and all together exceed the limit.
MANY_SMALL = b"""import os, time
for _ in range(60):
    if os.fork() == 0:
        kept = os.urandom(1) * (20 << 20)
        time.sleep(60)
while True:
    _, status = os.wait()
    if os.WIFSIGNALED(status):
        print("Killed")
        break
"""
FILLS_MEMORY_DISKS = """head -c 200000000 /dev/zero > /tmp/a
head -c 60000000 /dev/zero > /dev/shm/a
python3 -c 'kept = b"x" * (400 << 20); print("all of it")'"""
SPIN = b"""import os
for _ in range(4):
    os.fork()
while True:
    pass
"""
DEAF = b"""import contextlib, signal
for number in range(1, signal.NSIG):
    with contextlib.suppress(OSError, ValueError):
        signal.signal(number, signal.SIG_IGN)
print("deaf", flush=True)
while True:
    signal.sigwait({signal.SIGUSR1})
"""
# The runner holds the lock of the sandbox during the run.
LOCK = b"""import fcntl, os, signal
fcntl.flock(os.open(".", os.O_RDONLY), fcntl.LOCK_EX)
print("locked", flush=True)
signal.pause()
"""


@pytest.mark.parametrize(
    ("script", "program", "printed", "max_seconds"),
    [
        ("python3 -u program.py", FORK_BOMB, b"", 1),
        ("python3 -u program.py", SPIN, b"", 1),
        # Enough time to start on a busy machine.
        ("python3 -u program.py", DEAF, b"deaf\n", 5),
        ("python3 -u program.py", LOCK, b"", 1),
        ("yes & yes >&2", b"", b"y\n" * 25600, 3),
        ("while :; do :; done", b"", b"", 1),
    ],
    ids=["fork bomb", "spin", "deaf", "lock", "output", "loop"],
)
def test_an_endless_run_is_ended(
    attack: Run, script: str, program: bytes, printed: bytes, max_seconds: int
) -> None:
    response = attack(script, {"program.py": program}, max_seconds=max_seconds)
    assert response.colour == TIMED_OUT
    assert response.reason == f"it took longer than {max_seconds} s"
    assert response.status == 128 + 9
    assert response.stdout.content == printed


def test_background_processes_end_with_their_script(attack: Run) -> None:
    response = attack("bomb() { bomb | bomb & }; bomb; echo tests: passed")
    assert response.colour == GREEN
    response = attack("(sleep 0.3; echo tests: failed) & echo tests: passed")
    assert (response.colour, response.stdout.content) == (GREEN, b"tests: passed\n")


@pytest.mark.parametrize(
    ("script", "program"),
    [
        ("python3 program.py", b"kept = b'x' * (2 << 30); print('all of it')"),
        ("python3 -u program.py", MANY_SMALL),
        (FILLS_MEMORY_DISKS, b""),
    ],
    ids=["one large", "many small", "in memory disks"],
)
def test_memory_ends_at_the_limit(attack: Run, script: str, program: bytes) -> None:
    response = attack(script, {"program.py": program})
    assert MEMORY in response.reason
    assert b"all of it" not in response.stdout.content


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("cat /dev/zero > file", "153"),  # by SIGXFSZ, which is 25
        ("truncate -s 1T sparse", "153"),
        ("truncate -s 1T /tmp/sparse", "153"),
        ("cat /dev/zero > /tmp/file", "153"),
        ("cat /dev/zero > /dev/shm/file", "No space left on device"),
        ("fallocate -l 1T file", "153"),
    ],
)
def test_a_file_without_end_ends_at_a_limit(attack: Run, script: str, said: str) -> None:
    response = attack(f"({script}) 2>&1; echo $?")
    assert (response.colour, response.status) == (AMBER, 0)
    assert said in response.stdout.content.decode()


def test_files_beyond_the_limit_are_removed(attack: Run, attacked_kata: Kata) -> None:
    response = attack("seq 60000 | xargs touch; echo tests: passed")
    assert "more than 50000 files and folders in the sandbox" in response.reason
    assert {path.name for path in attacked_kata.sandbox(AVATAR).iterdir()} == {"cyber-dojo.sh"}


# Takes all that it can of what the kernel counts by user or by namespace.
TAKE = b"""import ctypes, fcntl, mmap, os
libc = ctypes.CDLL(None, use_errno=True)

def taken(name, take, most):
    count = 0
    try:
        while count < most and take(count) >= 0:
            count += 1
    except OSError:
        pass
    print(name, count, flush=True)

def pipe(_):
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 1 << 20)
    return 0

taken("queues", lambda n: libc.msgget(n + 1, 0o1666), 10**5)
taken("semaphores", lambda n: libc.semget(n + 1, 1, 0o1666), 10**5)
taken("shared", lambda n: libc.shmget(n + 1, 4096, 0o1666), 10**5)
taken("named", lambda n: libc.mq_open(b"/queue%d" % n, os.O_CREAT | os.O_RDWR, 0o666, 0), 512)
taken("inotify", lambda _: libc.inotify_init(), 512)
taken("pipes", pipe, 10**5)
taken("descriptors", lambda _: os.open("/dev/null", os.O_RDONLY), 10**5)
"""
LOOK = (
    "for each in msg sem shm; do tail -n +2 /proc/sysvipc/$each; done; "
    "ls -A /dev/mqueue /dev/shm /tmp; echo tests: passed"
)


def test_queues_descriptors_and_shared_memory_are_bounded_and_gone_in_the_next_run(
    attack: Run, attacked_kata: Kata
) -> None:
    # The kernel counts some of these by user, so the whales of other tests would run short.
    own = "walrus"
    attacked_kata.start_avatar(own)
    script = "touch /tmp/left /dev/shm/left; python3 take.py"
    response = attack(script, {"take.py": TAKE}, avatar=own)
    taken = {
        name: int(count)
        for name, count in (line.split() for line in response.stdout.content.decode().splitlines())
    }
    assert set(taken) == {
        "queues", "semaphores", "shared", "named", "inotify", "pipes", "descriptors"
    }  # fmt: skip
    assert 0 < taken["queues"] < 10**5
    assert 0 < taken["shared"] < 10**5
    assert taken["named"] + taken["inotify"] + 2 * taken["pipes"] + taken["descriptors"] < 1024
    response = attack(LOOK, avatar=own)
    assert response.colour == GREEN
    found = b"/dev/mqueue:\n\n/dev/shm:\n\n/tmp:\ncyber_dojo_fs_cleaners.sh\ntests: passed\n"
    assert response.stdout.content == found


DAEMON = b"""import os, time
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
os.closerange(0, 1024)
with open("here", "w"):
    pass
while True:
    with open("count", "a") as count:
        count.write("x")
"""


def test_a_daemon_ends_with_its_run_however_it_detached(attack: Run, attacked_kata: Kata) -> None:
    script = "python3 daemon.py; until [ -s count ]; do sleep 0.01; done; echo tests: passed"
    assert attack(script, {"daemon.py": DAEMON}).colour == GREEN
    count = attacked_kata.sandbox(AVATAR) / "count"
    before = count.stat().st_mtime_ns
    assert attack("stat -c %s count; echo tests: passed").colour == GREEN
    assert count.stat().st_mtime_ns == before


def test_a_large_script_is_run(attack: Run) -> None:
    response = attack("echo " + "x" * 10_000_000)
    assert (response.status, response.colour) == (0, AMBER)
    assert response.stdout.content == b"x" * 51200
    assert response.stdout.truncated


@pytest.mark.parametrize(
    "script",
    [
        "rm cyber-dojo.sh; mkdir -p cyber-dojo.sh/deep",
        "head -c 50000000 /dev/zero | tr '\\0' x > cyber-dojo.sh",
        "rm cyber-dojo.sh; mkfifo cyber-dojo.sh",
        "rm cyber-dojo.sh; ln -s /dev/zero cyber-dojo.sh",
        "chmod 0 cyber-dojo.sh .",
    ],
)
def test_a_script_that_was_replaced_while_it_ran_is_the_submitted_one_in_the_next_run(
    attack: Run, runner: Stub, attacked_kata: Kata, script: str
) -> None:
    attack(script, max_seconds=10)
    assert prepare(runner, attacked_kata)
    response = runner.Run(request(attacked_kata, "cat cyber-dojo.sh; echo tests: passed"))
    assert response.stdout.content == b"cat cyber-dojo.sh; echo tests: passedtests: passed\n"


def test_two_fork_bombs_do_not_keep_a_third_avatar_from_a_light(
    attack: Run, runner: Stub, attacked_kata: Kata
) -> None:
    # The zebra is the third avatar: `attack` checks the light of the zebra's run.
    other = "bear"
    attacked_kata.start_avatar(other)
    bomb = request(attacked_kata, "python3 a.py", {"a.py": FORK_BOMB}, avatar=other, max_seconds=2)
    call = runner.Run.future(bomb, timeout=60)
    response = attack("python3 a.py", {"a.py": FORK_BOMB}, max_seconds=2)
    assert response.colour == call.result().colour == TIMED_OUT
    assert_serves(runner, attacked_kata)
