"""Compiles a seccomp profile to the kernel's filter program, as the engine's runtime (runc) does.

A container gets its profile from the engine. What the runner itself starts in a container needs the
same filter, and libseccomp, with which runc makes it, makes it here too.
"""

import ctypes
import errno
import json
import platform
import struct
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# seccomp.h of libseccomp 2, and the kernel's <linux/filter.h> and <linux/seccomp.h>.
_ALLOW = 0x7FFF_0000
_ERRNO = 0x0005_0000
_COMPARISONS = {"SCMP_CMP_LT": 2, "SCMP_CMP_EQ": 4, "SCMP_CMP_MASKED_EQ": 7}
_ARCHITECTURES = {
    "SCMP_ARCH_X86_64": 0xC000_003E,
    "SCMP_ARCH_X86": 0x4000_0003,
    "SCMP_ARCH_AARCH64": 0xC000_00B7,
    "SCMP_ARCH_ARM": 0x4000_0028,
}
_X86_64 = _ARCHITECTURES["SCMP_ARCH_X86_64"]
# The engine's name of a machine's architecture, and libseccomp's.
_MACHINES = {"x86_64": ("amd64", "SCMP_ARCH_X86_64"), "aarch64": ("arm64", "SCMP_ARCH_AARCH64")}
_X32 = 0x4000_0000  # set in the numbers of x32's calls, whose architecture is x86-64's
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4
_LOAD, _EQUAL, _GREATER, _GREATER_OR_EQUAL, _JUMP, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x05, 0x06


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("index", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("value", ctypes.c_uint64),
        ("value_two", ctypes.c_uint64),
    )


class CannotFilter(Exception):
    """There is no libseccomp here, or it refuses the profile, or no profile is for this machine."""


def program(profile: str) -> bytes:
    """Return the filter of a profile in the engine's JSON, as instructions (struct sock_filter).

    Raises CannotFilter.
    """
    parsed = json.loads(profile)
    machine = platform.machine()
    if machine not in _MACHINES:
        raise CannotFilter(f"there is no list of system calls for {machine}")
    engine_name, native = _MACHINES[machine]
    architectures = next(
        [native, *each["subArchitectures"]]
        for each in parsed["archMap"]
        if each["architecture"] == native
    )
    rules = [
        rule
        for rule in parsed["syscalls"]
        if engine_name in rule.get("includes", {}).get("arches", [engine_name])
    ]
    library = _library()
    tokens = [_ARCHITECTURES[each] for each in architectures]
    return _unknown_calls(library, rules, tokens) + _compiled(library, rules, tokens)


def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError as error:
        raise CannotFilter(f"libseccomp can't be loaded: {error}") from error
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_release.argtypes = [ctypes.c_void_p]
    library.seccomp_arch_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    library.seccomp_syscall_resolve_name_arch.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
    library.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.POINTER(_Comparison),
    ]
    library.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
    return library


def _compiled(
    library: ctypes.CDLL, rules: Sequence[Mapping[str, Any]], architectures: Sequence[int]
) -> bytes:
    """Return what libseccomp makes of the rules; the first architecture is the machine's."""
    context = library.seccomp_init(_ERRNO | errno.EPERM)
    if not context:
        raise CannotFilter("libseccomp starts no filter")
    try:
        for architecture in architectures[1:]:
            _check(library.seccomp_arch_add(context, architecture), "an architecture")
        for rule in rules:
            action = (
                _ALLOW
                if rule["action"] == "SCMP_ACT_ALLOW"
                else _ERRNO | rule.get("errnoRet", errno.EPERM)
            )
            comparisons = [
                _Comparison(each["index"], _COMPARISONS[each["op"]], each["value"], two)
                for each in rule.get("args", [])
                for two in [each.get("valueTwo", 0)]
            ]
            array = (_Comparison * len(comparisons))(*comparisons)
            for name in rule["names"]:
                number = library.seccomp_syscall_resolve_name_arch(architectures[0], name.encode())
                # A library that is older than a call leaves it to `_unknown_calls`, as runc does.
                if number != -1:
                    added = library.seccomp_rule_add_array(
                        context, action, number, len(comparisons), array
                    )
                    _check(added, name)
        with tempfile.TemporaryFile() as file:
            _check(library.seccomp_export_bpf(context, file.fileno()), "the export")
            file.seek(0)
            return file.read()
    finally:
        library.seccomp_release(context)


def _unknown_calls(
    library: ctypes.CDLL, rules: Sequence[Mapping[str, Any]], architectures: Sequence[int]
) -> bytes:
    """Return instructions that answer ENOSYS for calls that are newer than all of the rules'."""
    blocks = []
    for architecture in architectures:
        newest = max(
            library.seccomp_syscall_resolve_name_arch(architecture, name.encode())
            for rule in rules
            for name in rule["names"]
        )
        blocks.append((architecture, newest))
    lengths = [6 if architecture == _X86_64 else 5 for architecture, _ in blocks]
    instructions = [_instruction(_LOAD, _ARCHITECTURE_AT)]
    for number, (architecture, newest) in enumerate(blocks):
        instructions += _block(architecture, newest, behind=sum(lengths[number + 1 :]))
    return b"".join(instructions)


def _block(architecture: int, newest: int, behind: int) -> Iterator[bytes]:
    """Yield one architecture's instructions; `behind` more follow before the filter itself."""
    is_x86_64 = architecture == _X86_64
    yield _instruction(_EQUAL, architecture, if_not=5 if is_x86_64 else 4)
    yield _instruction(_LOAD, _NUMBER_AT)
    if is_x86_64:
        yield _instruction(_GREATER_OR_EQUAL, _X32, if_so=3 + behind)
    yield _instruction(_GREATER, newest, if_not=1)
    yield _instruction(_RETURN, _ERRNO | errno.ENOSYS)
    yield _instruction(_JUMP, behind)


def _instruction(code: int, value: int, if_so: int = 0, if_not: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_so, if_not, value)


def _check(answer: int, what: str) -> None:
    if answer < 0:
        raise CannotFilter(f"libseccomp refuses {what}: {errno.errorcode.get(-answer, answer)}")
