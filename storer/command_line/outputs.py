"""Where bytes go: to standard output, or to a file that has its name when it is whole."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from storer.command_line import exits
from storer.command_line.exits import Failed

STDOUT = "-"
COMPRESSIONS = ("none", "gzip", "zstd")
_CODES = {
    errno.ENOENT: exits.NOT_FOUND,
    errno.ENOSPC: exits.FULL,
    errno.EDQUOT: exits.FULL,
    errno.EFBIG: exits.FULL,
}
ENDINGS = {"none": "", "gzip": ".gz", "zstd": ".zst"}


def refuse_terminal(output: str) -> None:
    """Raise Failed if bytes would go to a terminal."""
    if output == STDOUT and sys.stdout.isatty():
        raise Failed("these bytes are not for a terminal: name a file, or use a pipe", exits.USAGE)


@contextlib.contextmanager
def failing_clearly(what: str) -> Iterator[None]:
    """Turn what the system says of a file into a Failed."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        code = _CODES.get(error.errno or 0, exits.USAGE)
        raise Failed(f"{what}: {error.strerror or error}", code) from error


def part_of(path: Path) -> Path:
    """Return where a file is until it is whole."""
    return path.with_name(f"{path.name}.part")


def finish(file: IO[bytes], path: Path) -> None:
    """Put a file that is whole on disk, and then under its name."""
    file.flush()
    os.fsync(file.fileno())
    part_of(path).replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
