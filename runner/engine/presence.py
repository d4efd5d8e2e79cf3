"""Which runners of a namespace are alive: each holds the kernel's lock on a file of its own.

A runner that starts removes what dead runners left, and nothing of one that is alive. The files are
in the folder of the engine's volumes, so they belong to this engine and this namespace, whatever
container or address a runner has. The kernel releases a lock when its holder ends. A file says who
its runner is, for people.
"""

import contextlib
import fcntl
import os
import secrets
import socket
import time
from pathlib import Path

from dojo import locks
from dojo.naming import Namespace

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Presence:
    """Shows that this runner is alive, from `begin()` to `end()` or the end of the process."""

    def __init__(self, volume_root: Path, namespace: Namespace) -> None:
        self.runner = secrets.token_hex(8)
        self._folder = volume_root
        self._prefix = f"{namespace.name}-runner-"
        self._descriptor = -1

    def begin(self) -> None:
        """Take the lock. Nothing of this runner may be there before."""
        # The file gets its name when it is locked: without a lock it would be a dead runner's.
        part = self._folder / f".{self._prefix}{self.runner}"
        self._descriptor = os.open(part, _FLAGS, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        os.write(self._descriptor, _description().encode())
        part.rename(self._path(self.runner))

    def end(self) -> None:
        """Remove the file. Nothing of this runner may be left."""
        if self._descriptor != -1:
            self._path(self.runner).unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1

    def others(self) -> list[str]:
        """Return who the other living runners are: `process 7 on 3c1f..., since ...`.

        Inside of a container, the host is the container's id.
        """
        found = []
        for path in sorted(self._folder.glob(f"{self._prefix}*.lock")):
            if path != self._path(self.runner) and locks.is_locked(path):
                with contextlib.suppress(FileNotFoundError):  # it has just ended
                    found.append(path.read_text(errors="replace"))
        return found

    def is_alive(self, runner: str) -> bool:
        """Say whether a runner, by the name that its containers have, is alive."""
        path = self._path(runner)
        return path.is_file() and locks.is_locked(path)

    def forget_the_dead(self) -> None:
        """Remove the files of dead runners."""
        for path in self._folder.glob(f"{self._prefix}*.lock"):
            with locks.locked_at_once(path) as is_dead:
                if is_dead:
                    path.unlink(missing_ok=True)

    def _path(self, runner: str) -> Path:
        return self._folder / f"{self._prefix}{runner}.lock"


def _description() -> str:
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    return f"process {os.getpid()} on {socket.gethostname()}, since {since}"
