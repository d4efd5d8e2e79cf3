"""Where a tar goes: to standard output, or to a file that gets its name when it is complete."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

import click

from cli import exits
from cli.terminal.complaint import CommandFailed
from cyberdojo.storer.v1 import storer_pb2

F = TypeVar("F", bound=Callable[..., Any])

STDOUT = "-"
COMPRESSIONS = {
    "none": storer_pb2.COMPRESSION_NONE,
    "gzip": storer_pb2.COMPRESSION_GZIP,
    "zstd": storer_pb2.COMPRESSION_ZSTD,
}
_CODES = {
    errno.ENOENT: exits.NOT_FOUND,
    errno.ENOSPC: exits.FULL,
    errno.EDQUOT: exits.FULL,
    errno.EFBIG: exits.FULL,
}
ENDINGS = {"none": "", "gzip": ".gz", "zstd": ".zst"}


compression_option = click.option(
    "--compression",
    type=click.Choice(list(COMPRESSIONS)),
    default="none",
    show_default=True,
    help="How to compress the tar.",
)


def output_option(default: str) -> Callable[[F], F]:
    """Return the option that says where to write; `default` is shown in its help."""
    return click.option(
        "-o",
        "--output",
        type=click.Path(),
        metavar="FILE",
        help=f"Where to write, - for a pipe; by default {default}.",
    )


def refuse_terminal(output: str) -> None:
    """Raise CommandFailed if a tar would go to a terminal."""
    if output == STDOUT and sys.stdout.isatty():
        raise CommandFailed("a tar is not for a terminal: name a file, or use a pipe", exits.USAGE)


@contextlib.contextmanager
def translating_os_errors(what: str) -> Iterator[None]:
    """Turn the operating system's errors into CommandFailed; `what` names the file."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CommandFailed(f"{what}: {error.strerror or error}", code_of(error)) from error


def code_of(error: OSError) -> int:
    """Return the exit code for an error of the operating system."""
    return _CODES.get(error.errno or 0, exits.USAGE)


def target(output: str) -> Path:
    """Return the file to write to, with links followed. Raises CommandFailed for a folder."""
    path = Path(output)
    if path.is_dir():
        raise CommandFailed(f"{output}: is a folder; name a file in it", exits.USAGE)
    return path if is_special(path) else Path(os.path.realpath(path))


def is_special(path: Path) -> bool:
    """Return whether the path is a device or the like, which is written to as to a pipe."""
    return path.exists() and not path.is_file()


def part_of(path: Path) -> Path:
    """Return where a file is until it is complete."""
    return path.with_name(f"{path.name}.part")


@contextlib.contextmanager
def opened_part(path: Path) -> Iterator[IO[bytes]]:
    """Open the incomplete file, locked, to read and to append.

    Raises CommandFailed if another command holds the lock.
    """
    while True:
        with part_of(path).open("ab+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                reason = f"another command is writing {path}: wait until it has finished"
                raise CommandFailed(reason, exits.REFUSED) from None
            if _is_named(file, part_of(path)):
                yield file
                return


def _is_named(file: IO[bytes], path: Path) -> bool:
    """Return whether `path` is still this file: another command may just have renamed it."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def finish(file: IO[bytes], path: Path) -> None:
    """Sync a complete file, and rename it to its final name."""
    file.flush()
    os.fsync(file.fileno())
    part_of(path).replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def replace_file(path: Path, content: Callable[[], bytes], *, mode: int = 0o600) -> None:
    """Replace a small file whole, or create it. A file that exists keeps its mode.

    `content` is called when no other command writes the file. Raises CommandFailed.
    """
    path = target(str(path))
    with translating_os_errors(str(path)), opened_part(path) as file:
        os.fchmod(file.fileno(), path.stat().st_mode & 0o7777 if path.exists() else mode)
        file.truncate(0)
        file.write(content())
        finish(file, path)
