"""A docker engine of a test's own, as long as the tests hold the other end of standard input.

`python engine_keeper.py FOLDER NAME` starts an engine that is set up by FOLDER/daemon.json, keeps
everything in FOLDER and answers on FOLDER/docker.sock. NAME is that of its control groups. When
standard input ends, as it does too when the tests are killed, the engine is stopped, and what it
made outside of the folder goes: processes, mounts, control groups.

Start it in a network namespace of its own: an engine sets up links and firewall rules, and
takes away those that another engine made.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

_STOP_SECONDS = 40
_PR_SET_CHILD_SUBREAPER = 36
_CONTROL_GROUPS = Path("/sys/fs/cgroup")

# One of its own: an engine takes the machine's where there is one, and leaves a namespace in it.
# The plugins that are disabled serve Kubernetes, and make a folder outside of ours.
_CONTAINERD = """\
version = 2
root = "{folder}/data/containerd"
state = "{folder}/exec/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
address = "{folder}/containerd.sock"
"""


def main(folder: Path, name: str) -> None:
    """Keep an engine until standard input ends, or the engine does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the tests are interrupted, and then stop it
    # Containers whose parents ended become children of this process, which can end them then.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before = _mounts(folder)
    containerd = _start("containerd", f"--config={_containerd_config(folder)}")
    dockerd = _start("dockerd", *_options(folder, name))
    try:
        ended = select.poll()
        ended.register(sys.stdin, select.POLLIN | select.POLLHUP)
        ended.register(os.pidfd_open(dockerd.pid), select.POLLIN)
        ended.poll()
    finally:
        for process in (dockerd, containerd):
            _stop(process)
        _end_orphans()
        for mount in reversed(_mounts(folder)):
            if mount not in before:
                subprocess.run(["umount", "--lazy", mount], check=False)
        _remove_control_groups(name)


def _start(*command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=subprocess.DEVNULL)


def _options(folder: Path, name: str) -> list[str]:
    return [
        f"--config-file={folder}/daemon.json",  # the machine's may contradict these options
        f"--host=unix://{folder}/docker.sock",
        f"--containerd={folder}/containerd.sock",
        f"--data-root={folder}/data",
        f"--exec-root={folder}/exec",
        f"--pidfile={folder}/docker.pid",
        "--exec-opt=native.cgroupdriver=cgroupfs",
        f"--cgroup-parent=/{name}",
        "--bridge=none",
        "--iptables=false",
    ]


def _containerd_config(folder: Path) -> Path:
    config = folder / "containerd.toml"
    config.write_text(_CONTAINERD.format(folder=folder))
    return config


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a process in good order, frozen or not; or else kill it."""
    process.send_signal(signal.SIGCONT)
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_orphans() -> None:
    """Kill what became this process's child because its own parent ended."""
    while True:
        for status in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                parent = status.read_text().rpartition(")")[2].split()[1]
                if int(parent) == os.getpid():
                    os.kill(int(status.parent.name), signal.SIGKILL)
        try:
            os.wait()
        except ChildProcessError:
            return


def _mounts(folder: Path) -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    found = [line.split()[1] for line in lines]
    return [mount for mount in found if mount.startswith(f"{folder}/")]


def _remove_control_groups(name: str) -> None:
    """Remove the engine's control groups, in version 1's hierarchies or in version 2's only one."""
    end = time.monotonic() + _STOP_SECONDS
    for top in (*_CONTROL_GROUPS.glob(name), *_CONTROL_GROUPS.glob(f"*/{name}")):
        for folder, _, _ in os.walk(top, topdown=False):
            while not _is_removed(Path(folder)):
                assert time.monotonic() < end, f"{folder} is still in use"
                time.sleep(0.02)


def _is_removed(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError:  # the kernel has not done yet with what was in it
        return False
    return True


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
