"""The init process of a container or of a run in it, as the kernel knows it.

When it ends, the kernel ends all processes of its process namespace. Its descriptor
(pidfd_open(2)) tells that at once, where the engine takes some 30 ms. The descriptor can also kill
the process while the engine hangs.
"""

import os
import select
import signal
from pathlib import Path
from typing import Self


class InitProcess:
    """An open descriptor of an init process."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def find(cls, pid: int, container_id: str) -> Self | None:
        """Open the process that the engine names as the container's init process.

        None if it has ended, or if this process can't see it. In a process namespace of our own,
        the engine's number stands for any other process or for none.
        """
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            return None
        try:
            groups = Path(f"/proc/{pid}/cgroup").read_text()
        except OSError:
            groups = ""
        # Checked after opening: a process that reused the number would not be in the container's
        # control group.
        if container_id not in groups:
            os.close(descriptor)
            return None
        return cls(descriptor)

    def has_ended(self) -> bool:
        """Say whether the process has ended, and with it all processes of its namespace."""
        return self.wait(0)

    def wait(self, seconds: float) -> bool:
        """Wait for the end of the process; say whether it has ended."""
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def kill(self) -> bool:
        """Kill all processes of the namespace; say whether the init process still ran.

        Raises PermissionError without the capability CAP_KILL.
        """
        if self.has_ended():
            return False
        try:
            signal.pidfd_send_signal(self.descriptor, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.descriptor)
