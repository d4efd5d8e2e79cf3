"""The named pipes between the runner and a run's program.

The program's output reaches the runner through the kernel alone. The engine would copy every byte
twice, and would report the program's end 25 ms late. The pipes are created in a folder inside the
avatar's folder, under a name that nobody can guess. As soon as both sides have opened them, the
names are removed.

There are four pipes: `in` says that the run may begin, `out` and `err` have the program's output,
and `status` says that the container is ready and, at the end, has the exit status.
"""

import os
import secrets
import select
import time
from collections.abc import Callable

from runner.run.streams import ERR, IN, OUT, STATUS, Streams
from runner.sandbox import safe_fs

_NAMES = (IN, OUT, ERR, STATUS)
_PREFIX = ".run-"
# A folder of pipes that is older than this was left by a runner that was killed.
_MAX_NAMED_SECONDS = 600

_READY = b"ready\n"
# How often to check that a container that is not ready yet still runs.
_CHECK_SECONDS = 0.1


class Pipes(Streams):
    """The named pipes of one run. Belongs to one thread at a time."""

    def __init__(self, avatar_folder: int, uid: int) -> None:
        """Create the pipes in the avatar's folder, for a program of this user and group.

        `folder_name` is the name of the pipes' own folder.
        """
        self.folder_name = _PREFIX + secrets.token_hex(16)
        self._avatar_folder = os.dup(avatar_folder)
        super().__init__()
        _remove_orphans(avatar_folder)
        try:
            os.mkdir(self.folder_name, 0o711, dir_fd=avatar_folder)
            with safe_fs.opened(self.folder_name, avatar_folder) as folder:
                for name in _NAMES:
                    os.mkfifo(name, 0o600, dir_fd=folder)
                    # Owned by us, and open to the program's group one way only. A program that
                    # could read its own output would take bytes away that poll() has reported.
                    os.chown(name, -1, uid, dir_fd=folder, follow_symlinks=False)
                    os.chmod(name, 0o640 if name == IN else 0o620, dir_fd=folder)
                    # `in` is opened both ways: a pipe without a reader can't be opened to write.
                    mode = os.O_RDWR if name == IN else os.O_RDONLY
                    self._descriptors[name] = os.open(
                        name, mode | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder
                    )
        except BaseException:
            self.close()
            raise

    def add_file(self, name: str, content: bytes) -> None:
        """Create a file that everybody may read in the pipes' folder, until their names go."""
        with safe_fs.opened(self.folder_name, self._avatar_folder) as folder:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(name, flags, 0o600, dir_fd=folder), "wb") as file:
                file.write(content)
                os.fchmod(file.fileno(), 0o644)

    def wait_until_ready(self, seconds: float, has_ended: Callable[[], bool]) -> bool:
        """Wait for the container to be ready, and remove the pipes' names; say whether it is.

        False if it ended instead, or takes longer than `seconds`. `has_ended` has to say whether it
        ended: a pipe that the container has not opened yet does not show that.
        """
        poll = select.poll()
        poll.register(self._descriptors[STATUS], select.POLLIN)
        received = b""
        deadline = time.monotonic() + seconds
        while received != _READY and _READY.startswith(received):
            left_seconds = deadline - time.monotonic()
            if not poll.poll(max(0, min(left_seconds, _CHECK_SECONDS)) * 1000):
                if left_seconds <= 0 or has_ended():
                    break
                continue
            if not (piece := self._read(STATUS)):
                break
            received += piece
        self._remove_names()
        return received == _READY

    def is_waiting(self) -> bool:
        """Say whether the container still waits for its run to begin."""
        poll = select.poll()
        poll.register(self._descriptors[STATUS], select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """Close the pipes, which ends a container that still waits."""
        self._remove_names()
        super().close()

    def _remove_names(self) -> None:
        """Remove the pipes' folder. Pipes that are open keep working."""
        if self._avatar_folder == -1:
            return
        _remove_names(self.folder_name, self._avatar_folder)
        os.close(self._avatar_folder)
        self._avatar_folder = -1


def _remove_names(folder_name: str, avatar_folder: int) -> None:
    """Remove a folder of pipes from an avatar's folder, if it exists."""
    try:
        with safe_fs.opened(folder_name, avatar_folder) as folder:
            for name in os.listdir(folder):
                os.unlink(name, dir_fd=folder)
        os.rmdir(folder_name, dir_fd=avatar_folder)
    except FileNotFoundError:
        return


def _remove_orphans(avatar_folder: int) -> None:
    """Remove the pipes that a runner left when it was killed."""
    for name in os.listdir(avatar_folder):
        if name.startswith(_PREFIX):
            found = safe_fs.status(name, avatar_folder)
            if found is not None and time.time() - found.st_mtime > _MAX_NAMED_SECONDS:
                safe_fs.TreeRemover(avatar_folder).remove(name, avatar_folder)
