"""Keep the namespaces of a host, until standard input ends.

`python -m support.machines.host_keeper NAME FOLDER` makes the namespaces, prints the id of their
first process, and waits. The host ends when that process is killed: the kernel then kills all
others of the host, too, and what they mounted is gone. When standard input ends, which it also does
when the tests are killed, this program ends the host and removes FOLDER. In both cases it removes
the control groups of NAME and ends.
"""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from support.engine_keeper import remove_control_groups
from support.processes import children_of

# A host has a /run of its own, which is empty when it starts, as after a loss of power. The first
# process has no children to wait for: the kernel removes those of whom it ignores the end.
_START = """\
mount -t tmpfs tmpfs /run && hostname "$1" && ip link set lo up && echo started &&
exec env --ignore-signal=CHLD sleep infinity
"""
_NAMESPACES = ("--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--mount-proc")


def main(name: str, folder: Path) -> None:
    """Keep a host until it is killed or standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests, which then end this
    host = subprocess.Popen(
        ["unshare", *_NAMESPACES, "--kill-child", "sh", "-c", _START, "sh", folder.name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert host.stdout is not None
    assert host.stdout.readline() == b"started\n", "only root can start a host"
    (first,) = children_of(host.pid)
    print(first, flush=True)  # noqa: T201 - the tests read it
    process = os.pidfd_open(first)
    ended = select.poll()
    ended.register(sys.stdin, select.POLLIN | select.POLLHUP)
    ended.register(process, select.POLLIN)
    is_to_end = sys.stdin.fileno() in dict(ended.poll())
    if is_to_end:
        with contextlib.suppress(ProcessLookupError):  # it was killed at the same moment
            signal.pidfd_send_signal(process, signal.SIGKILL)
    host.wait()
    remove_control_groups(name)
    if is_to_end:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
