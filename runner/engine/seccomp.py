"""The seccomp profile: the system calls that a run may make, which are those that languages need.

Runs share nothing but the kernel with the machine. A defect in a part of the kernel that a run
can't reach can't let the run out. docker's default profile is for services of all kinds, and
differs between engines. This profile is for compilers, interpreters and tests, and comes with each
container. docs/decisions/0006 has the reasons.

The kernel refuses a call that is not listed with EPERM. The runtime (runc from 1.0 on) answers
ENOSYS for calls that are newer than all listed ones, so a newer C library takes the kernel for an
older one. The profile is for x86-64 and 64-bit ARM, and the 32-bit programs of each. A call of
another architecture, such as x32, ends the program.
"""

import errno
import json
import socket
from collections.abc import Iterator

Rule = dict[str, object]
Condition = dict[str, object]

FILES = """
    access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3
    faccessat faccessat2 fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown
    fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr
    fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd getdents
    getdents64 getxattr inotify_add_watch inotify_init inotify_init1 inotify_rm_watch ioctl lchown
    lchown32 lgetxattr link linkat listxattr llistxattr _llseek lremovexattr lseek lsetxattr lstat
    lstat64 memfd_create mkdir mkdirat mknod mknodat newfstatat open openat openat2 pipe pipe2
    pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv
    removexattr rename renameat renameat2 rmdir sendfile sendfile64 setxattr splice stat stat64
    statfs statfs64 statx symlink symlinkat sync_file_range tee truncate truncate64 umask unlink
    unlinkat utime utimensat utimensat_time64 utimes write writev
"""
WAITING = """
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
    epoll_wait_old eventfd eventfd2 _newselect poll ppoll ppoll_time64 pselect6 pselect6_time64
    select signalfd signalfd4
"""
MEMORY = """
    brk madvise map_shadow_stack mincore mlock mlock2 mlockall mmap mmap2 mprotect mremap mseal
    msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect remap_file_pages
"""
PROCESSES = """
    capget capset execve execveat exit exit_group fork getcpu getegid getegid32 geteuid geteuid32
    getgid getgid32 getgroups getgroups32 getpgid getpgrp getpid getppid getpriority getresgid
    getresgid32 getresuid getresuid32 getrlimit getrusage getsid gettid getuid getuid32 ioprio_get
    kill nice pidfd_open pidfd_send_signal prctl prlimit64 sched_get_priority_max
    sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
    sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr
    sched_setparam sched_setscheduler sched_yield setfsgid setfsgid32 setfsuid setfsuid32 setgid
    setgid32 setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32
    setreuid setreuid32 setrlimit setsid setuid setuid32 sysinfo tgkill times tkill ugetrlimit
    uname vfork wait4 waitid waitpid
"""
# Debuggers and sanitizers trace their own programs. A run sees no processes but its own.
TRACING = "ptrace"
# With these a program gives up rights, and gains none.
RESTRICTING_ITSELF = """
    landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp
"""
SIGNALS = """
    pause restart_syscall rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
    rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaction sigaltstack
    signal sigpending sigprocmask sigreturn sigsuspend
"""
THREADS = """
    arch_prctl futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake get_robust_list
    get_thread_area membarrier rseq set_robust_list set_thread_area set_tid_address
"""
CLOCKS = """
    alarm clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep
    clock_nanosleep_time64 getitimer getrandom gettimeofday nanosleep setitimer time timer_create
    timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64
    timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64
"""
# These reach the queues and shared memory of the container's own namespace only.
MESSAGES = """
    ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
    mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop
    semtimedop_time64 shmat shmctl shmdt shmget
"""
OPEN_SOCKETS = """
    accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg
    recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto shutdown
"""
ARM = "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2"

ALLOWED = (
    FILES,
    WAITING,
    MEMORY,
    PROCESSES,
    TRACING,
    RESTRICTING_ITSELF,
    SIGNALS,
    THREADS,
    CLOCKS,
    MESSAGES,
    OPEN_SOCKETS,
)

# Programs do without these if the kernel lacks them, which ENOSYS says. EPERM would make them fail.
ABSENT = """
    clone3
    io_uring_enter io_uring_register io_uring_setup
    io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit
    get_mempolicy mbind migrate_pages move_pages set_mempolicy set_mempolicy_home_node
    socketcall
"""

# The kernel reads an int from the lower half of a register and ignores the upper half.
_INT = 0xFFFF_FFFF
# Without the flags (SOCK_NONBLOCK, SOCK_CLOEXEC) in the higher bits of a socket's type.
_SOCKET_TYPE = 0xF
_TCP_ULP = 31
_SOL_NETLINK = 270
_NETLINK_ROUTE = 0
# CLONE_NEWNS, _NEWCGROUP, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID and _NEWNET.
_NEW_NAMESPACES = 0x7E02_0000
_QUERY_PERSONALITY = 0xFFFF_FFFF


def profile() -> str:
    """Return the profile as JSON, for docker's option `seccomp=`."""
    return json.dumps(
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "archMap": [
                {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
                {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
            ],
            "syscalls": list(_rules()),
        }
    )


def _rules() -> Iterator[Rule]:
    """Yield the rules. Their order matters: a later rule does not allow what an earlier refuses."""
    # For 32-bit programs a rule about `socket` also allows `socketcall`, and with it every kind of
    # socket, because no filter can see the arguments of `socketcall`. An earlier rule prevents that
    # if it refuses `socketcall` with another error than the default one.
    yield {"names": ABSENT.split(), "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS}
    yield _allowed(*" ".join(ALLOWED).split())
    yield {**_allowed(*ARM.split()), "includes": {"arches": ["arm64"]}}
    # No new namespaces: a program has all rights inside its own, and these reach parts of the
    # kernel that nothing else can reach.
    yield _allowed("clone", _masked(0, _NEW_NAMESPACES, 0))
    for personality in (0, _QUERY_PERSONALITY):
        yield _allowed("personality", _equal(0, personality))
    yield from _sockets()
    yield from _socket_options()


def _sockets() -> Iterator[Rule]:
    """Yield the rules for creating sockets: local ones, TCP, UDP, and netlink for interfaces.

    A request for any other kind can make the kernel load the module for it.
    """
    for name in ("socket", "socketpair"):
        yield _allowed(name, _equal(0, socket.AF_UNIX))
    for family in (socket.AF_INET, socket.AF_INET6):
        for kind, protocol in (
            (socket.SOCK_STREAM, socket.IPPROTO_TCP),
            (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
        ):
            for requested in (0, protocol):
                yield _allowed(
                    "socket",
                    _equal(0, family),
                    _masked(1, _SOCKET_TYPE, kind),
                    _equal(2, requested),
                )
    yield _allowed("socket", _equal(0, socket.AF_NETLINK), _equal(2, _NETLINK_ROUTE))


def _socket_options() -> Iterator[Rule]:
    """Yield the rules for socket options: all, except a protocol on top of TCP (TCP_ULP)."""
    for level in (
        socket.IPPROTO_IP,
        socket.SOL_SOCKET,
        socket.IPPROTO_UDP,
        socket.IPPROTO_IPV6,
        _SOL_NETLINK,
    ):
        yield _allowed("setsockopt", _equal(1, level))
    below = {"index": 2, "value": _TCP_ULP, "op": "SCMP_CMP_LT"}
    above = _masked(2, _INT & ~_TCP_ULP, _TCP_ULP + 1)  # up to 63
    for option in (below, above):
        yield _allowed("setsockopt", _equal(1, socket.IPPROTO_TCP), option)


def _allowed(*names_and_conditions: str | Condition) -> Rule:
    """Return a rule that allows the named calls if all conditions hold."""
    return {
        "names": [each for each in names_and_conditions if isinstance(each, str)],
        "action": "SCMP_ACT_ALLOW",
        "args": [each for each in names_and_conditions if not isinstance(each, str)],
    }


def _equal(index: int, value: int) -> Condition:
    """Return the condition that an int argument has the value."""
    return _masked(index, _INT, value)


def _masked(index: int, mask: int, value: int) -> Condition:
    """Return the condition that the argument's bits in the mask have the value."""
    return {"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}
