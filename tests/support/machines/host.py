"""A host: processes with a network address, a host name and a /run of their own.

It has the files of this machine, and its clock, but none of its processes and links. A host can be
lost, as when its power fails, and started again.
"""

import ctypes
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from support import test_run
from support.machines.network import Network
from support.paths import TESTS
from support.services import STOP_SECONDS, wait_until

_CLONE_NEWPID = 0x20000000  # of <linux/sched.h>
_LIBC = ctypes.CDLL(None, use_errno=True)


class Host:
    """A host on a network. It keeps what is its own in a folder."""

    def __init__(self, network: Network, folder: Path) -> None:
        """Give the host the folder's name, and an address. It is not started yet."""
        self.name = folder.name
        self.folder = folder
        self.link = network.new_link()
        self.network = network
        # The name of its control groups.
        self.group = f"{test_run.name()}-{self.name}-{secrets.token_hex(4)}"
        self._keeper: subprocess.Popen[bytes] | None = None
        self._processes: list[subprocess.Popen[Any]] = []

    @property
    def address(self) -> str:
        """The IP address. It stays when the host is started again."""
        return self.link.address

    @property
    def log_file(self) -> Path:
        """The file to which the host's programs write what they log."""
        return self.folder / "log"

    def log(self) -> str:
        """Return the end of what the host's programs logged."""
        return self.log_file.read_text()[-3000:]

    @property
    def is_on(self) -> bool:
        """Whether the host runs, frozen or not."""
        return self.link.pid is not None

    def start(self) -> None:
        """Switch the host on, and connect it with its network."""
        assert not self.is_on
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            self._keeper = subprocess.Popen(
                [sys.executable, "-m", "support.machines.host_keeper", self.group, self.folder],
                env={**os.environ, "PYTHONPATH": str(TESTS)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self._keeper.stdout is not None
        line = self._keeper.stdout.readline()
        assert line, self.log()
        self.network.plug(self.link, int(line))

    def popen(self, command: Sequence[str | Path], **options: Any) -> subprocess.Popen[Any]:
        """Start a process on the host. `options` are those of subprocess.Popen.

        The process is a child of this one, so that it can be waited for and gets signals. It is in
        the current folder, and knows no proxies, because there are none on the network.
        """
        # A new thread, because it starts processes in the host's namespace of processes only.
        with ThreadPoolExecutor(1) as thread:
            process = thread.submit(self._popen, command, **options).result()
        self._processes.append(process)
        return process

    def run(self, *command: str) -> str:
        """Run a command on the host; return its output. Raises CalledProcessError if it fails."""
        process = self.popen(command, stdout=subprocess.PIPE, text=True)
        output, _ = process.communicate()
        if process.returncode != 0:
            raise subprocess.CalledProcessError(process.returncode, command, output)
        return str(output)

    def freeze(self) -> None:
        """Freeze all processes of the host at once, and wait until none of them runs.

        Its kernel still takes connections, and what is sent on them.
        """
        self.run("sh", "-c", "kill -STOP -1")
        wait_until(self._is_frozen)

    def thaw(self) -> None:
        """Let the processes of a frozen host continue."""
        self.run("sh", "-c", "kill -CONT -1")

    def lose(self) -> None:
        """Lose the host, as when its power fails: its link first, then all processes at once.

        What they wrote to the disk is there when it is started again, synced or not.
        """
        first = self.link.pid
        assert first is not None
        self.network.unplug(self.link)
        os.kill(first, signal.SIGKILL)
        self._wait()

    def close(self) -> None:
        """End the host, whatever its state, and remove its folder."""
        if self.is_on:
            self.network.unplug(self.link)
        if self._keeper is not None:
            assert self._keeper.stdin is not None
            self._keeper.stdin.close()
            self._wait()
        if self.folder.exists():  # the host was lost, or never started
            shutil.rmtree(self.folder)

    def _popen(self, command: Sequence[str | Path], **options: Any) -> subprocess.Popen[Any]:
        namespaces = Path(f"/proc/{self.link.pid}/ns")
        environ: Mapping[str, str] = options.pop("env", os.environ)
        known = {key: each for key, each in environ.items() if not key.lower().endswith("_proxy")}
        folder = os.fspath(options.pop("cwd", Path.cwd()))
        kinds = {"net": "net", "mount": "mnt", "uts": "uts", "ipc": "ipc"}
        enter = ["nsenter", *(f"--{key}={namespaces / each}" for key, each in kinds.items())]
        _enter_process_namespace(namespaces / "pid")
        # nsenter executes the command in its place if it has no namespace of processes to enter.
        return subprocess.Popen(
            [*enter, "env", f"--chdir={folder}", *command], env=known, **options
        )

    def _is_frozen(self) -> bool:
        # In the order of their ids: the first process, which is never frozen, and last this one.
        _, *states, _ = self.run("ps", "-e", "-L", "-o", "stat=").split()
        # Others than those that run or can be woken are stopped, or are so when they wake up.
        return not any(state.startswith(("R", "S")) for state in states)

    def _wait(self) -> None:
        """Wait until the host has ended. It ends when all its processes have been waited for."""
        for each in self._processes:
            each.wait(STOP_SECONDS)
        self._processes.clear()
        keeper, self._keeper = self._keeper, None
        assert keeper is not None
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        status = keeper.wait(STOP_SECONDS)
        keeper.stdin.close()
        keeper.stdout.close()
        assert status == 0, f"the keeper of the host {self.name} ended with {status}"


def _enter_process_namespace(path: Path) -> None:
    """Let the calling thread start processes in another namespace of processes."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if _LIBC.setns(descriptor, _CLONE_NEWPID) != 0:
            raise OSError(ctypes.get_errno(), f"can't enter {path}")
    finally:
        os.close(descriptor)
