"""Folders in each other, deeper than Python's own functions can remove."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def deep_folders(top: Path, depth: int) -> Iterator[None]:
    """Make `depth` folders called `d`, each in the one before, the first in `top`.

    They are removed at the end, if they are there still: pytest removes the folders of earlier
    runs by recursion, and would fail.
    """
    descriptor = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=descriptor)
        inner = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)
    try:
        yield
    finally:
        subprocess.run(["rm", "-rf", "--", top / "d"], check=True)
