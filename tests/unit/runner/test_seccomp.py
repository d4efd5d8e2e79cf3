"""The seccomp profile that docker reads. Tests of its effect need an engine."""

import errno
import json
import socket
from typing import Any

import pytest

from runner.engine import seccomp

PROFILE: dict[str, Any] = json.loads(seccomp.profile())
# Calls with which programs have escaped from containers, or can change the machine.
ESCAPES = """
    acct add_key bpf chroot clock_settime clone3 delete_module fanotify_init finit_module fsconfig
    fsmount fsopen init_module io_uring_setup kexec_load keyctl mount mount_setattr move_mount
    name_to_handle_at open_by_handle_at open_tree perf_event_open pivot_root process_vm_readv
    process_vm_writev quotactl reboot request_key setns sethostname settimeofday swapon
    syslog umount2 unshare userfaultfd vmsplice
"""
ALLOW, REFUSE = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"


def rules(name: str, action: str = ALLOW) -> list[dict[str, Any]]:
    return [
        each for each in PROFILE["syscalls"] if name in each["names"] and each["action"] == action
    ]


def is_allowed(name: str, *arguments: int) -> bool:
    """Return whether a call with these arguments is allowed, by the rules of libseccomp."""
    return any(
        all(holds(condition, arguments) for condition in rule.get("args", []))
        for rule in rules(name)
        if "includes" not in rule
    )


def holds(condition: dict[str, Any], arguments: tuple[int, ...]) -> bool:
    value = arguments[condition["index"]]
    if condition["op"] == "SCMP_CMP_LT":
        return bool(value < condition["value"])
    assert condition["op"] == "SCMP_CMP_MASKED_EQ"
    return bool(value & condition["value"] == condition["valueTwo"])


def test_calls_that_are_not_named_are_refused() -> None:
    assert PROFILE["defaultAction"] == REFUSE
    assert {each["action"] for each in PROFILE["syscalls"]} == {ALLOW, REFUSE}


def test_no_unconditionally_allowed_call_is_named_twice() -> None:
    named = [
        name
        for each in PROFILE["syscalls"]
        if each["action"] == ALLOW and not each.get("args") and "includes" not in each
        for name in each["names"]
    ]
    assert sorted(named) == sorted(set(named))
    assert len(named) > 200


@pytest.mark.parametrize("name", ESCAPES.split())
def test_calls_that_have_let_programs_escape_are_never_allowed(name: str) -> None:
    assert not rules(name)


@pytest.mark.parametrize("name", ["clone3", "io_uring_setup", "socketcall", "mbind"])
def test_calls_that_programs_do_without_seem_not_to_exist(name: str) -> None:
    (rule,) = rules(name, REFUSE)
    assert rule["errnoRet"] == errno.ENOSYS
    # libseccomp takes the first rule: one that allows sockets would allow socketcall too.
    assert PROFILE["syscalls"][0] is rule


@pytest.mark.parametrize(
    "name", ["read", "write", "execve", "fork", "vfork", "mmap", "futex", "wait4", "rseq", "exit"]
)
def test_calls_that_every_program_needs_are_allowed(name: str) -> None:
    assert is_allowed(name)


FORK = 0x01200011  # the flags with which glibc's fork calls clone


def test_clone_makes_processes_and_threads_and_no_namespaces() -> None:
    assert is_allowed("clone", FORK)
    assert is_allowed("clone", 0x003D0F00)  # a thread
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert not is_allowed("clone", FORK | flag)
        assert not is_allowed("clone", 0xFFFFFFFF_00000000 | FORK | flag)


@pytest.mark.parametrize(
    ("family", "kind", "protocol", "allowed"),
    [
        (socket.AF_UNIX, socket.SOCK_STREAM, 0, True),
        (socket.AF_INET, socket.SOCK_STREAM, 0, True),
        (socket.AF_INET6, socket.SOCK_STREAM | socket.SOCK_CLOEXEC, socket.IPPROTO_TCP, True),
        (socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.IPPROTO_UDP, True),
        (socket.AF_NETLINK, socket.SOCK_RAW, 0, True),
        (socket.AF_NETLINK, socket.SOCK_RAW, 12, False),  # netfilter
        (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP, False),
        (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP, False),
        (socket.AF_INET, socket.SOCK_DGRAM, 136, False),  # UDP-Lite
        (socket.AF_PACKET, socket.SOCK_RAW, 0, False),
        (socket.AF_ALG, socket.SOCK_SEQPACKET, 0, False),
        (socket.AF_VSOCK, socket.SOCK_STREAM, 0, False),
        (31, socket.SOCK_STREAM, 0, False),  # Bluetooth
    ],
)
def test_only_the_usual_kinds_of_sockets_are_allowed(
    family: int, kind: int, protocol: int, *, allowed: bool
) -> None:
    assert is_allowed("socket", family, kind, protocol) == allowed
    # The kernel reads only the lower half of the register.
    high = 0x5_0000_0000
    assert is_allowed("socket", family | high, kind | high, protocol | high) == allowed


def test_no_protocol_can_be_layered_on_tcp() -> None:
    for option in range(64):
        assert is_allowed("setsockopt", 0, socket.IPPROTO_TCP, option) == (option != 31)
        assert not is_allowed("setsockopt", 0, socket.IPPROTO_TCP, 31 | option << 32)


def test_the_personality_can_be_read_and_not_changed() -> None:
    assert is_allowed("personality", 0)
    assert is_allowed("personality", 0xFFFF_FFFF)
    assert not is_allowed("personality", 0x0040000)  # ADDR_NO_RANDOMIZE


def test_both_architectures_are_covered() -> None:
    assert [each["architecture"] for each in PROFILE["archMap"]] == [
        "SCMP_ARCH_X86_64",
        "SCMP_ARCH_AARCH64",
    ]
