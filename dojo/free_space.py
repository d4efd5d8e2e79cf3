"""How much room a disk has. That also tells whether an error without a reason means a full disk."""

import os
from pathlib import Path

# With less, the engine can't make a container.
LEAST_BYTES = 1024**2


def free_bytes(folder: Path | int) -> int:
    """Return how many bytes can still be written to the disk that a folder is on.

    The folder is a path or a descriptor.
    """
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def size_bytes(folder: Path) -> int:
    """Return how many bytes the disk that a folder is on has in all."""
    status = os.statvfs(folder)
    return status.f_blocks * status.f_frsize


def is_full(folder: Path) -> bool:
    """Say whether the disk that a folder is on has no room for anything of use."""
    return free_bytes(folder) < LEAST_BYTES
