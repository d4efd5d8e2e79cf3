"""The filter of system calls, as it answers. An interpreter of it stands for the kernel."""

import errno
import platform
import struct

import pytest

from runner.engine import seccomp, seccomp_filter

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the numbers are those of x86-64"
)

X86_64, X86, ARM64 = 0xC000003E, 0x40000003, 0xC00000B7
ALLOWED, KILLED = 0x7FFF0000, 0x00000000
PERMISSION, ABSENT = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
NEW_USERS, NEW_NETWORK = 0x10000000, 0x40000000

JUMPS = {
    0x15: lambda value, given: value == given,
    0x25: lambda value, given: value > given,
    0x35: lambda value, given: value >= given,
    0x45: lambda value, given: value & given != 0,
}


def answer(program: bytes, number: int, *arguments: int, architecture: int = X86_64) -> int:
    """Return what the filter answers to a call (struct seccomp_data)."""
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("=iIQ6Q", number, architecture, 0, *padded)
    value, at = 0, 0
    while True:
        code, if_so, if_not, given = struct.unpack_from("=HBBI", program, at * 8)
        at += 1
        if code == 0x20:
            (value,) = struct.unpack_from("=I", data, given)
        elif code == 0x54:
            value &= given
        elif code == 0x05:
            at += given
        elif code == 0x06:
            return int(given)
        else:
            at += if_so if JUMPS[code](value, given) else if_not


@pytest.fixture(scope="module")
def program() -> bytes:
    return seccomp_filter.program(seccomp.profile())


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ((0,), ALLOWED),  # read
        ((59,), ALLOWED),  # execve
        ((165,), PERMISSION),  # mount
        ((272, NEW_USERS), PERMISSION),  # unshare
        ((308,), PERMISSION),  # setns
        ((56, 17), ALLOWED),  # clone
        ((56, NEW_USERS | 17), PERMISSION),
        ((56, NEW_NETWORK | 17), PERMISSION),
        ((435,), ABSENT),  # clone3
        ((425,), ABSENT),  # io_uring_setup
        ((9999,), ABSENT),
        ((41, 1, 1, 0), ALLOWED),  # socket: AF_UNIX
        ((41, 2, 3, 1), PERMISSION),  # a raw one
        ((41, 17, 3, 0), PERMISSION),  # AF_PACKET
        ((54, 3, 6, 31), PERMISSION),  # setsockopt: TCP_ULP
        ((54, 3, 6, 1), ALLOWED),
        ((0x40000000,), KILLED),  # x32's read
    ],
)
def test_a_call_is_answered(program: bytes, call: tuple[int, ...], expected: int) -> None:
    assert answer(program, *call) == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [(3, ALLOWED), (21, PERMISSION), (102, ABSENT), (9999, ABSENT)],  # read, mount, socketcall
)
def test_a_call_of_a_32_bit_program_is_answered(program: bytes, number: int, expected: int) -> None:
    assert answer(program, number, architecture=X86) == expected


def test_a_call_of_another_architecture_ends_the_program(program: bytes) -> None:
    assert answer(program, 0, architecture=ARM64) == KILLED
