"""Run a docker engine for a test, until standard input ends.

`python engine_keeper.py FOLDER NAME` starts an engine that is configured by FOLDER/daemon.json,
keeps everything in FOLDER and listens on FOLDER/docker.sock. NAME is the name of its control
groups. When standard input ends, which it also does when the tests are killed, this program stops
the engine and removes what the engine made outside of FOLDER: processes, mounts, control groups.

Start this program in a network namespace of its own, because an engine sets up links and firewall
rules, and removes those of other engines.
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

# A containerd of its own: an engine uses the machine's if there is one, and leaves a namespace in
# it. The disabled plugins serve Kubernetes, and would make a folder outside of FOLDER.
_CONTAINERD = """\
version = 2
root = "{folder}/data/containerd"
state = "{state}/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
address = "{folder}/containerd.sock"
"""


def main(folder: Path, name: str) -> None:
    """Run an engine until standard input or the engine ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests, which then stop this
    # Containers whose parents ended become children of this process, which can then kill them.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before = _mounts(folder)
    containerd = _start(*containerd_command(folder, folder / "exec"))
    dockerd = _start(*dockerd_command(folder, folder / "exec", name))
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
        remove_control_groups(name)


def _start(*command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=subprocess.DEVNULL)


def containerd_command(folder: Path, state: Path) -> list[str]:
    """Return a containerd that keeps its data in `folder`, and what ends with it in `state`."""
    config = folder / "containerd.toml"
    config.write_text(_CONTAINERD.format(folder=folder, state=state))
    return ["containerd", f"--config={config}"]


def dockerd_command(folder: Path, state: Path, name: str) -> list[str]:
    """Return an engine that uses the containerd of `folder` and listens on FOLDER/docker.sock.

    Its settings are in FOLDER/daemon.json. `name` is that of its control groups.
    """
    return [
        "dockerd",
        f"--config-file={folder}/daemon.json",  # the machine's own may contradict these options
        f"--host=unix://{folder}/docker.sock",
        f"--containerd={folder}/containerd.sock",
        f"--data-root={folder}/data",
        f"--exec-root={state}",
        f"--pidfile={state}/docker.pid",
        "--exec-opt=native.cgroupdriver=cgroupfs",
        f"--cgroup-parent=/{name}",
        "--bridge=none",
        "--iptables=false",
    ]


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a process, even a frozen one; kill it if it does not end."""
    process.send_signal(signal.SIGCONT)
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_orphans() -> None:
    """Kill the processes that became this one's children because their own parents ended."""
    while True:
        for status in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # the process has just ended
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


def remove_control_groups(name: str) -> None:
    """Remove the engine's control groups, of version 1 (several hierarchies) or 2 (one)."""
    end = time.monotonic() + _STOP_SECONDS
    for top in (*_CONTROL_GROUPS.glob(name), *_CONTROL_GROUPS.glob(f"*/{name}")):
        for folder, _, _ in os.walk(top, topdown=False):
            while not _is_removed(Path(folder)):
                assert time.monotonic() < end, f"{folder} is still in use"
                time.sleep(0.02)


def _is_removed(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError:  # the kernel has not yet removed the processes that were in the group
        return False
    return True


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
