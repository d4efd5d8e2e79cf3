"""The filter of system calls of each run: what it refuses, and what languages need."""

import os
from collections.abc import Mapping

import pytest

from dojo import locks
from dojo.engine.data_containers import DataContainers
from support.kata_folders import make_kata
from support.runner.submissions import AVATAR, GCC, GREEN, Run, Stub, request

pytestmark = pytest.mark.usefixtures("nothing_stays")

on_x86_64 = pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="other processors, other ABIs"
)

PROGRAM = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define WIDE (1L << 32)  /* a bit that the kernel does not look at in an int */

static void *memory;
static int tcp, one = 1, pair[2];

static void say(const char *name, long result)
{
    printf("%s: %s\n", name, result < 0 ? strerrorname_np(errno) : "done");
    fflush(stdout);
    errno = 0;
}

#ifdef __x86_64__
/* A call as a 32-bit program makes it. */
static long i386(long number, long first, long second, long third)
{
    int result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first), "c"(second), "d"(third)
                     : "memory", "r8", "r9", "r10", "r11");
    errno = result < 0 ? -result : 0;
    return result < 0 ? -1 : result;
}

/* socket or socketpair, by the one call that 32-bit programs have for all that sockets do. */
static long socketcall(int which, int family)
{
    unsigned *arguments = memory;
    arguments[0] = family;
    arguments[1] = SOCK_STREAM;
    arguments[2] = 0;
    arguments[3] = (unsigned)(long)(arguments + 8);
    return i386(102, which, (long)arguments, 0);
}
#endif

static long waited(long child)
{
    int status;
    return child < 0 ? child : waitpid(child, &status, 0) == child ? 0 : -1;
}

static long traced(void)
{
    pid_t child = fork();
    if (child == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    long result = WIFSTOPPED(status) ? ptrace(PTRACE_CONT, child, 0, 0) : -1;
    waitpid(child, &status, 0);
    return result;
}

static void *nothing(void *argument)
{
    return argument;
}

static long thread(void)
{
    pthread_t started;
    errno = pthread_create(&started, NULL, nothing, NULL);
    return errno ? -1 : pthread_join(started, NULL);
}

static long filtered(void)
{
    struct sock_filter allow[] = {BPF_STMT(BPF_RET | BPF_K, 0x7fff0000)};
    struct sock_fprog program = {1, allow};
    return syscall(SYS_seccomp, 1, 0, &program);
}

int main(void)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;
#ifdef __x86_64__
    flags |= MAP_32BIT;
#endif
    memory = mmap(NULL, 65536, PROT_READ | PROT_WRITE, flags, -1, 0);
    tcp = socket(AF_INET, SOCK_STREAM, 0);
ASKED
    return 0;
}
"""

# Each call would succeed without the filter: none fails because of its arguments.
REFUSED = {
    "a virtual machine's socket": "socket(AF_VSOCK, SOCK_STREAM, 0)",
    "a socket of the kernel's ciphers": "socket(AF_ALG, SOCK_SEQPACKET, 0)",
    "a socket of keys": "socket(AF_KEY, SOCK_RAW, 2)",
    "a packet socket": "socket(AF_PACKET, SOCK_RAW, 0)",
    "an express data path": "socket(44, SOCK_RAW, 0)",
    "a cluster's socket": "socket(AF_TIPC, SOCK_STREAM, 0)",
    "a pair of a cluster's sockets": "socketpair(AF_TIPC, SOCK_STREAM, 0, pair)",
    "a family behind a bit that the kernel ignores": (
        "syscall(SYS_socket, WIDE | AF_VSOCK, SOCK_STREAM, 0)"
    ),
    "a raw socket": "socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)",
    "pings": "socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP)",
    "SCTP": "socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP)",
    "DCCP": "socket(AF_INET6, SOCK_DCCP, 0)",
    "multipath TCP": "socket(AF_INET, SOCK_STREAM, 262)",
    "UDP-Lite": "socket(AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE)",
    "the kernel's firewall": "socket(AF_NETLINK, SOCK_RAW, 12)",
    "the kernel's tunnels": "socket(AF_NETLINK, SOCK_RAW, 6)",
    "TLS in the kernel": 'setsockopt(tcp, IPPROTO_TCP, TCP_ULP, "tls", 4)',
    "TLS behind bits that the kernel ignores": (
        'syscall(SYS_setsockopt, tcp, WIDE | IPPROTO_TCP, WIDE | TCP_ULP, "tls", 4)'
    ),
    "users of its own": "unshare(CLONE_NEWUSER)",
    "a child with users of its own": (
        "waited(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0))"
    ),
    "a child with mounts of its own": (
        "waited(syscall(SYS_clone, WIDE | CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0))"
    ),
    "memory without randomization": "personality(ADDR_NO_RANDOMIZE)",
    "faults of memory": "syscall(SYS_userfaultfd, 1)",
    "the memory of others": "process_vm_readv(getpid(), memory, 0, memory, 0, 0)",
    "a file by its handle": (
        'syscall(SYS_name_to_handle_at, AT_FDCWD, ".", memory, memory, 0)'
    ),
    "keys": "syscall(SYS_keyctl, 0, -3, 1)",
    "performance counters": "syscall(SYS_perf_event_open, memory, 0, -1, -1, 0)",
    "programs in the kernel": "syscall(SYS_bpf, 0, memory, 48)",
    "syncing all file systems": "syscall(SYS_sync)",
    "pages of its own in a pipe": "vmsplice(1, memory, 0, 0)",
    "disk priority": "syscall(SYS_ioprio_set, 1, 0, 2 << 13)",
    "quotas": "syscall(SYS_quotactl, 0, 0, 0, 0)",
}  # fmt: skip
# The filter answers ENOSYS, as if the kernel had none of these calls.
ABSENT = {
    "rings": "syscall(SYS_io_uring_setup, 8, memory)",
    "a ring's turn": "syscall(SYS_io_uring_enter, -1, 0, 0, 0, 0, 0)",
    "a ring's parts": "syscall(SYS_io_uring_register, -1, 0, 0, 0)",
    "legacy asynchronous input and output": "syscall(SYS_io_setup, 1, memory)",
    "the memory's nodes": "syscall(SYS_get_mempolicy, 0, 0, 0, 0, 0)",
    "clone's successor": "syscall(SYS_clone3, memory, 88)",
    "a future call": "syscall(9999)",
}
ALLOWED = {
    "a local socket": "socket(AF_UNIX, SOCK_STREAM, 0)",
    "local sockets": "socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)",
    "TCP": "socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP)",
    "TCP without a name": "socket(AF_INET6, SOCK_STREAM, 0)",
    "UDP": "socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, IPPROTO_UDP)",
    "UDP without a name": "socket(AF_INET, SOCK_DGRAM, 0)",
    "a family beside a bit that the kernel ignores": (
        "syscall(SYS_socket, WIDE | AF_INET, SOCK_STREAM, 0)"
    ),
    "the interfaces": "socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0)",
    "an option of TCP": "setsockopt(tcp, IPPROTO_TCP, TCP_NODELAY, &one, 4)",
    "a later option of TCP": "setsockopt(tcp, IPPROTO_TCP, TCP_INQ, &one, 4)",
    "an option of sockets": "setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &one, 4)",
    "a child": "waited(fork() ?: (_exit(0), 0))",
    "a child that shares": "waited(vfork() ?: (_exit(0), 0))",
    "a thread": "thread()",
    "a traced child": "traced()",
    "a descriptor of a process": "syscall(SYS_pidfd_open, getpid(), 0)",
    "memory to be run": "mprotect(memory, 4096, PROT_READ | PROT_WRITE | PROT_EXEC)",
    "memory that stays": "mlock(memory, 4096)",
    "a file in memory": 'memfd_create("a", 0)',
    "a link": 'symlink("a", "link")',
    "a FIFO": 'mkfifo("fifo", 0600)',
    "an attribute": 'setxattr(".", "user.a", "b", 1, 0) < 0 && errno != ENOTSUP ? -1 : 0',
    "a lock": "flock(dup(1), 8) < 0 && errno != EBADF ? -1 : 0",
    "a status in full": 'statx(AT_FDCWD, ".", 0, STATX_ALL, memory)',
    "watching files": "inotify_init()",
    "waiting for events": "epoll_create1(0)",
    "an event": "eventfd(0, 0)",
    "a timer": "timerfd_create(CLOCK_MONOTONIC, 0)",
    "signals as they come": "signalfd(-1, memory, 0)",
    "random bytes": "getrandom(memory, 16, 0)",
    "a queue": 'mq_open("/queue", O_CREAT | O_RDWR, 0600, NULL)',
    "shared memory": "shmget(IPC_PRIVATE, 4096, 0600)",
    "semaphores": "semget(IPC_PRIVATE, 1, 0600)",
    "the processors": "sched_getaffinity(0, sizeof(cpu_set_t), memory)",
    "a lower priority": "setpriority(PRIO_PROCESS, 0, 1)",
    "its own user": "setresuid(getuid(), getuid(), getuid())",
    "a barrier": "syscall(SYS_membarrier, 0, 0, 0)",
    "the personality": "personality(0xffffffff)",
    "a filter of its own": "filtered()",
}  # fmt: skip
# The numbers of the calls are those of 32-bit programs.
I386_REFUSED = {
    "i386: a virtual machine's socket": ("i386(359, AF_VSOCK, SOCK_STREAM, 0)", "EPERM"),
    "i386: SCTP": ("i386(359, AF_INET, SOCK_STREAM, IPPROTO_SCTP)", "EPERM"),
    "i386: a virtual machine's socket among all": ("socketcall(1, AF_VSOCK)", "ENOSYS"),
    "i386: a pair of a cluster's sockets among all": ("socketcall(8, AF_TIPC)", "ENOSYS"),
    "i386: users of its own": ("i386(310, CLONE_NEWUSER, 0, 0)", "EPERM"),
    "i386: a child with users of its own": (
        "waited(i386(120, CLONE_NEWUSER | SIGCHLD, 0, 0))",
        "EPERM",
    ),
    "i386: rings": ("i386(425, 8, (long)memory, 0)", "ENOSYS"),
    "i386: keys": ("i386(288, 0, -3, 1)", "EPERM"),
}
I386_ALLOWED = {
    "i386: TCP": "i386(359, AF_INET, SOCK_STREAM, 0)",
    "i386: a file": 'i386(5, (long)strcpy(memory, "."), 0, 0)',
    "i386: what it is called": "i386(122, (long)memory, 0, 0)",
}  # fmt: skip

Answers = Mapping[str, str]


@pytest.fixture(scope="module")
def answers(runner: Stub, data_containers: DataContainers) -> Answers:
    """The kernel's answer to each call that one run of a C program made."""
    asked = {**REFUSED, **ABSENT, **ALLOWED}
    if os.uname().machine == "x86_64":
        asked |= {name: call for name, (call, _) in I386_REFUSED.items()} | I386_ALLOWED
    # The call that installs a filter comes last, because the filter stays.
    ordered = sorted(asked, key=lambda name: name == "a filter of its own")
    lines = "\n".join(f'    say("{name}", {asked[name]});' for name in ordered)
    program = PROGRAM.replace("ASKED", lines).encode()
    kata = make_kata(data_containers)
    kata.start_avatar(AVATAR)
    script = "gcc -w ask.c -o ask && ./ask"
    response = runner.Run(request(kata, script, {"ask.c": program}, image_name=GCC, max_seconds=60))
    with locks.locked(kata.folder):
        data_containers.delete(kata.id)
    assert response.status == 0, response
    return dict(line.rsplit(": ", 1) for line in response.stdout.content.decode().splitlines())


@pytest.mark.parametrize("name", REFUSED)
def test_calls_that_no_test_needs_are_refused(answers: Answers, name: str) -> None:
    assert answers[name] == "EPERM"


@pytest.mark.parametrize("name", ABSENT)
def test_calls_that_programs_do_without_seem_not_to_exist(answers: Answers, name: str) -> None:
    assert answers[name] == "ENOSYS"


@pytest.mark.parametrize("name", ALLOWED)
def test_calls_that_languages_need_are_allowed(answers: Answers, name: str) -> None:
    assert answers[name] == "done"


@on_x86_64
@pytest.mark.parametrize("name", I386_REFUSED)
def test_a_32_bit_program_is_refused_the_same_calls(answers: Answers, name: str) -> None:
    assert answers[name] == I386_REFUSED[name][1]


@on_x86_64
@pytest.mark.parametrize("name", I386_ALLOWED)
def test_a_32_bit_program_is_allowed_the_same_calls(answers: Answers, name: str) -> None:
    assert answers[name] == "done"


@on_x86_64
def test_a_call_through_the_x32_abi_kills_the_program(run: Run) -> None:
    x32 = b"#include <unistd.h>\nint main(void) { return syscall(0x40000000 | 39) < 0; }\n"
    response = run("gcc -w x32.c -o x32 && ./x32", {"x32.c": x32}, image_name=GCC)
    assert response.status == 128 + 31  # SIGSYS


FAMILIES = b"""import errno, socket
for family in range(64):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
        try:
            socket.socket(family, kind).close()
        except PermissionError:
            continue
        except OSError:
            pass
        print(socket.AddressFamily(family).name)
        break
"""


def test_there_are_four_families_of_sockets(run: Run) -> None:
    response = run("python3 families.py", {"families.py": FAMILIES})
    found = response.stdout.content.decode().split()
    assert found == ["AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"]


LEAKS = b"""#include <stdlib.h>
int main(void)
{
    volatile void *lost = malloc(7);
    lost = 0;
    return lost != 0;
}
"""


def test_a_sanitizer_that_traces_its_own_program_finds_what_leaks(run: Run) -> None:
    script = "gcc -g -fsanitize=address leaks.c -o leaks && ./leaks"
    response = run(script, {"leaks.c": LEAKS}, image_name=GCC, max_seconds=60)
    assert b"ERROR: LeakSanitizer: detected memory leaks" in response.stderr.content
    assert b"7 byte(s) leaked in 1 allocation(s)" in response.stderr.content


LIBRARY = b"""import asyncio, concurrent.futures, multiprocessing, os, pty, socket, subprocess, sys
import tempfile

def double(number):
    return 2 * number

async def talk():
    async def echo(reader, writer):
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()
    async with await asyncio.start_server(echo, "127.0.0.1") as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hello\\n")
        assert await reader.readline() == b"hello\\n"
        writer.close()
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", "print(42)", stdout=-1)
    assert (await child.communicate())[0] == b"42\\n"

if __name__ == "__main__":
    assert [name for _, name in socket.if_nameindex()] == ["lo"]
    asyncio.run(talk())
    with multiprocessing.Pool(2) as pool:
        assert pool.map(double, range(3)) == [0, 2, 4]
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        assert list(threads.map(double, range(3))) == [0, 2, 4]
    assert subprocess.run(["sync"]).returncode == 0
    assert subprocess.run(["cp", "-a", "library.py", tempfile.mkdtemp()]).returncode == 0
    os.close(pty.openpty()[0])
    print("tests: passed")
"""


def test_the_standard_library_of_python_works_under_the_filter(run: Run) -> None:
    response = run("python3 library.py", {"library.py": LIBRARY})
    assert response.colour == GREEN, response
