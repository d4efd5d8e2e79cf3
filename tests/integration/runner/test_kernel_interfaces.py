"""What the kernel refuses a run: system calls, files of the machine, the network."""

import os
from collections.abc import Callable

import pytest

from dojo import locks
from dojo.engine.data_containers import DataContainers
from support.kata_folders import make_kata
from support.runner.hostility import VARIABLES
from support.runner.submissions import AVATAR, Run, Stub, request

pytestmark = pytest.mark.usefixtures("nothing_stays")

# The filter refuses calls with EPERM, and calls that it does not know with ENOSYS.
REFUSED = {"EPERM", "EACCES", "ENOSYS"}

# Called by number, because the C library has no function for some. The arguments would be good for
# a program with the rights to make the call.
SYSCALLS = {
    "mount": "165, b'none', b'/tmp', b'tmpfs', 0, 0",
    "umount2": "166, b'/tmp', 0",
    "move_mount": "429, -100, b'/tmp', -100, b'/mnt', 0",
    "open_tree": "428, -100, b'/', 1",
    "fsopen": "430, b'tmpfs', 0",
    "mount_setattr": "442, -100, b'/', 0, MEMORY, 32",
    "pivot_root": "155, b'/tmp', b'/tmp'",
    "chroot": "161, b'/tmp'",
    "unshare of users": "272, 0x10000000",
    "unshare of mounts": "272, 0x20000",
    "unshare of the network": "272, 0x40000000",
    "clone with new users": "56, 0x10000000 | 17, 0, 0, 0, 0",
    "clone3": "435, MEMORY, 88",
    "setns": "308, os.open('/proc/self/ns/net', os.O_RDONLY), 0",
    "mknod of a disk": "133, b'/tmp/disk', 0o60666, 0x801",
    "open_by_handle_at": "304, -100, MEMORY, 0",
    "name_to_handle_at": "303, -100, b'.', MEMORY, MEMORY, 0",
    "bpf": "321, 0, MEMORY, 48",
    "userfaultfd": "323, 1",
    "perf_event_open": "298, MEMORY, 0, -1, -1, 0",
    "keyctl": "250, 0, -3, 1",
    "add_key": "248, b'user', b'a', b'b', 1, -2",
    "request_key": "249, b'user', b'a', 0, -2",
    "process_vm_readv": "310, os.getppid(), MEMORY, 1, MEMORY, 1, 0",
    "pidfd_getfd": "438, 0, 0, 0",
    "fanotify_init": "300, 0, 0",
    "init_module": "175, MEMORY, 1, b''",
    "finit_module": "313, 0, b'', 0",
    "delete_module": "176, b'none', 0",
    "kexec_load": "246, 0, 0, 0, 0",
    "kexec_file_load": "320, -1, -1, 0, 0, 0",
    "reboot": "169, 0xFEE1DEAD, 672274793, 0, 0",
    "swapon": "167, b'/tmp', 0",
    "acct": "163, 0",
    "syslog": "103, 3, MEMORY, 10",
    "iopl": "172, 3",
    "settimeofday": "164, MEMORY, 0",
    "clock_settime": "227, 0, MEMORY",
    "clock_adjtime": "305, 0, OFFSET",
    "sethostname": "170, b'x', 1",
    "setdomainname": "171, b'x', 1",
    "setuid": "105, 0",
    "setgid": "106, 0",
    "setgroups": "116, 0, 0",
    "personality": "135, 0x0040000",
    "a higher priority": "141, 0, 0, -5",
    "a higher limit": "302, 0, 7, LIMITS, 0",
    "a raw socket": "41, 2, 3, 1",
    "a packet socket": "41, 17, 3, 0",
}

OPENED = (
    "/proc/sysrq-trigger", "/proc/sys/kernel/hostname", "/proc/sys/kernel/core_pattern",
    "/proc/sys/vm/drop_caches", "/proc/1/exe", "/proc/kcore", "/proc/kmsg",
    "/sys/kernel/uevent_helper",
    "/sys/power/state", "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    "/sys/fs/cgroup/pids/pids.max", "/sys/fs/cgroup/memory/cgroup.procs", "/etc/passwd",
    "/etc/hosts", "/dev/mem", "/dev/kmsg", "/dev/sda", "/dev/vda", "/dev/kvm", "/dev/fuse",
    "/var/run/docker.sock", "/run/docker.sock", "/bin/sh",
)  # fmt: skip

REACHED = {
    "itself": "(socket.AF_INET, socket.SOCK_STREAM), ('127.0.0.1', 22)",
    "the bridge": "(socket.AF_INET, socket.SOCK_STREAM), ('172.17.0.1', 2375)",
    "metadata": "(socket.AF_INET, socket.SOCK_STREAM), ('169.254.169.254', 80)",
    "names": "(socket.AF_INET, socket.SOCK_DGRAM), ('192.0.2.1', 53)",
    "IPv6": "(socket.AF_INET6, socket.SOCK_STREAM), ('2001:db8::1', 80)",
    "docker": "(socket.AF_UNIX, socket.SOCK_STREAM), '/var/run/docker.sock'",
    "containerd": "(socket.AF_UNIX, socket.SOCK_STREAM), '/run/containerd/containerd.sock'",
    "containerd's shim": "(socket.AF_UNIX, socket.SOCK_STREAM), '\\0/containerd-shim/x.sock'",
}

PROGRAM = f"""import ctypes, errno, os, socket, struct
libc = ctypes.CDLL(None, use_errno=True)
kept = ctypes.create_string_buffer(4096)
MEMORY = ctypes.addressof(kept)
more = ctypes.create_string_buffer(struct.pack("QQ", 1 << 19, 1 << 19))
LIMITS = ctypes.addressof(more)
offset = ctypes.create_string_buffer(struct.pack("I", 0x100), 4096)
OFFSET = ctypes.addressof(offset)

def say(name, call):
    try:
        print(name, call() or "done", sep=": ", flush=True)
    except OSError as error:
        print(name, errno.errorcode.get(error.errno, error), sep=": ", flush=True)

def syscall(*arguments):
    given = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    if libc.syscall(*given) == -1:
        raise OSError(ctypes.get_errno(), "")

def reach(kind, address):
    with socket.socket(*kind) as reached:
        reached.settimeout(1)
        reached.connect(address)

def write(path):
    os.close(os.open(path, os.O_WRONLY))

{chr(10).join(f"say({name!r}, lambda: syscall({call}))" for name, call in SYSCALLS.items())}
{chr(10).join(f"say({path!r}, lambda: write({path!r}))" for path in OPENED)}
{chr(10).join(f"say({name!r}, lambda: reach({call}))" for name, call in REACHED.items())}
"""

Answers = Callable[[str], str]


@pytest.fixture(scope="module")
def answers(runner: Stub, data_containers: DataContainers) -> Answers:
    """Returns the kernel's answer to each call that one run made."""
    kata = make_kata(data_containers)
    kata.start_avatar(AVATAR)
    asked = request(kata, "python3 ask.py", {"ask.py": PROGRAM.encode()})
    response = runner.Run(asked)
    with locks.locked(kata.folder):
        data_containers.delete(kata.id)
    found = dict(line.rsplit(": ", 1) for line in response.stdout.content.decode().splitlines())
    assert response.status == 0, response
    return found.__getitem__


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86-64")
@pytest.mark.parametrize("name", SYSCALLS)
def test_the_kernel_refuses(answers: Answers, name: str) -> None:
    assert answers(name) in REFUSED


@pytest.mark.parametrize("path", OPENED)
def test_files_of_the_machine_can_not_be_written(answers: Answers, path: str) -> None:
    assert answers(path) in {"EACCES", "EPERM", "EROFS", "ENOENT", "ENXIO", "ETXTBSY"}


@pytest.mark.parametrize("name", REACHED)
def test_no_address_can_be_reached(answers: Answers, name: str) -> None:
    # The run's own loopback refuses connections, as nothing else listens on it.
    own = {"ECONNREFUSED"} if name in {"itself", "containerd's shim"} else set()
    assert answers(name) in {"ENETUNREACH", "EADDRNOTAVAIL", "EAFNOSUPPORT", "ENOENT", *own}


def test_a_filter_of_system_calls_is_in_force(run: Run) -> None:
    response = run("grep -E '^(Seccomp|NoNewPrivs|Cap...):' /proc/self/status")
    found = dict(line.split() for line in response.stdout.content.decode().splitlines())
    assert found.pop("Seccomp:") == "2"
    assert found.pop("NoNewPrivs:") == "1"
    assert {int(mask, 16) for mask in found.values()} == {0}
    assert len(found) == 5
    # Without the filter the kernel would allow this to anybody.
    response = run("cat /proc/sys/user/max_user_namespaces; unshare --user true")
    assert int(response.stdout.content) > 0
    assert b"Operation not permitted" in response.stderr.content


@pytest.mark.parametrize(
    "script",
    [
        "cp /bin/sh own && chmod 6755 own && ./own -p -c id",
        "cp /bin/sh /tmp/own && chmod 6755 /tmp/own && /tmp/own -p -c id",
        "su root -c id </dev/null || su - </dev/null; id",
        "newgrp root </dev/null; id",
    ],
)
def test_no_program_gains_privileges(attack: Run, script: str) -> None:
    response = attack(f"({script}) 2>/dev/null")
    assert b"root" not in response.stdout.content
    assert b"uid=40061" in response.stdout.content


def test_the_environment_has_only_known_variables(run: Run) -> None:
    response = run("env | cut -d= -f1 | sort")
    assert set(response.stdout.content.decode().split()) <= VARIABLES
